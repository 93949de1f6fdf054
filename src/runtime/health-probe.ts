import { StringDecoder } from 'node:string_decoder';
import { EngineError } from '../base/errors.ts';
import type { Container } from './container.ts';
import { containerCgroup, type EngineContext } from './context.ts';
import type { ExecSessions } from './exec.ts';
import type { Attachment, HealthState } from './port.ts';
import { killSession } from './processes.ts';

/** Docker's: the most of a check's output that is kept. */
const keptOutputBytes = 4_096;

export type Probe = {
  args: string[];
  intervalMs: number;
  timeoutMs: number;
  startPeriodMs: number;
  startIntervalMs: number;
  retries: number;
};

export type ProbeResult = HealthState['log'][number];

/** Runs a check once, in the container as its own user. -1 is what has no exit code: it took too long, or could not be started. */
export async function runProbe(
  context: EngineContext,
  execs: ExecSessions,
  container: Container,
  probe: Probe,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const startedAtMs = context.now();
  const output = new Output();
  let exec: { id: string } | undefined;
  try {
    exec = execs.create(container, {
      args: probe.args,
      tty: false,
      openStdin: false,
      attachStdout: true,
      attachStderr: true,
      env: [],
      privileged: false,
    });
    const attachment = await execs.start(exec.id, { detach: false });
    const exitCode = await endOf(context, execs, container, { id: exec.id, attachment, output, timeoutMs: probe.timeoutMs, signal });
    const said = output.text();
    const text = exitCode === undefined ? tooLong(probe.timeoutMs, said) : said;
    return { startedAtMs, endedAtMs: context.now(), exitCode: exitCode ?? -1, output: text };
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    return { startedAtMs, endedAtMs: context.now(), exitCode: -1, output: error.message.slice(0, keptOutputBytes) };
  } finally {
    if (exec) execs.discard(exec.id);
  }
}

type Run = { id: string; attachment: Attachment | undefined; output: Output; timeoutMs: number; signal: AbortSignal };

/** Undefined when it took too long, or `signal` aborted: then it is killed with everything that it has started. */
async function endOf(context: EngineContext, execs: ExecSessions, container: Container, run: Run): Promise<number | undefined> {
  const { promise: given, resolve: giveUp } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => giveUp(undefined), run.timeoutMs);
  const abort = () => giveUp(undefined);
  run.signal.addEventListener('abort', abort);
  if (run.signal.aborted) abort();
  const { state } = execs.get(run.id);
  try {
    const finished = Promise.all([execs.ended(run.id), collect(run)]);
    const result = await Promise.race([finished, given]);
    if (result) return result[0];
    if (state.status === 'running') await killSession(state.pid, () => context.cgroups.processes(containerCgroup(context, container.id)));
    return undefined;
  } finally {
    clearTimeout(timer);
    run.signal.removeEventListener('abort', abort);
    run.attachment?.close();
  }
}

async function collect({ attachment, output }: Run): Promise<void> {
  if (attachment) for await (const { data } of attachment.output()) output.push(data);
}

class Output {
  readonly #decoder = new StringDecoder('utf8');
  #left = keptOutputBytes;
  #text = '';

  push(data: Buffer): void {
    const kept = data.subarray(0, this.#left);
    this.#left -= kept.length;
    // A character that the limit cuts is left out.
    this.#text += this.#decoder.write(kept);
  }

  text(): string {
    return this.#text;
  }
}

function tooLong(timeoutMs: number, said: string): string {
  const text = `Health check exceeded timeout (${goDuration(timeoutMs)})${said === '' ? '' : `: ${said}`}`;
  return text.slice(0, keptOutputBytes);
}

/** As Go writes it: `1m30s`, `1.5s`, `200ms`. */
export function goDuration(ms: number): string {
  if (ms < 1_000) return `${ms}ms`;
  const [hours, minutes, seconds] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, (ms % 60_000) / 1_000];
  return `${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds}s`;
}
