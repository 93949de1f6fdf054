import { usageError } from '../flags.ts';
import { parseDuration } from '../parse/units.ts';

/** `--cache-ttl 24h`, of all RUN steps, or `--cache-ttl STAGE=24h`; `STAGE=0` runs them in every build. */
export function parseCacheTtl(text: string): { name?: string; ms: number } {
  const at = text.lastIndexOf('=');
  const [name, duration] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  if (at === 0)
    throw usageError(`invalid --cache-ttl ${JSON.stringify(text)}: it names no stage`, 'Write --cache-ttl 24h or --cache-ttl STAGE=24h.');
  // Go's durations end at hours; results are kept for days.
  const days = /^(\d{1,5})d$/.exec(duration);
  const ms = days === null ? Math.round(parseDuration(duration, '--cache-ttl') / 1e6) : Number(days[1]) * 86_400_000;
  if (ms < 0) throw usageError(`invalid --cache-ttl ${JSON.stringify(text)}: a result cannot be younger than new`);
  return { ...(at < 0 ? {} : { name }), ms };
}
