import type { EventMessage } from '../../api-types/events.ts';
import { EngineError } from '../../base/errors.ts';
import { textLines } from '../client/lines.ts';
import { defineCommand } from '../command.ts';
import { text } from '../flags.ts';
import { compileTemplate } from '../format/template.ts';
import { unescapeFormat } from '../format/template-lexer.ts';
import { filterFlag, parseFilters } from '../parse/filters.ts';
import { parseTimestamp } from '../parse/units.ts';

export const events = defineCommand({
  summary: 'Show what happens, as it happens',
  examples: [
    ['events --filter type=container --filter event=die', 'containers that end'],
    ['events --since 1h --until 0s --format json', 'the last hour, an object a line'],
  ],
  flags: {
    filter: filterFlag,
    format: text('json, or a Go template such as "{{.Action}} {{.Actor.ID}}"', { value: 'FORMAT' }),
    since: text('From this time on: 10m, 2024-05-01T13:00:00Z or seconds since 1970', { value: 'TIME' }),
    until: text('Up to this time, then end', { value: 'TIME' }),
  },
  async run({ client, output }, flags) {
    const render = renderer(flags.format);
    const now = Date.now();
    const response = await client.call('GET', '/events', {
      query: {
        since: flags.since === undefined ? undefined : parseTimestamp(flags.since, '--since', now),
        until: flags.until === undefined ? undefined : parseTimestamp(flags.until, '--until', now),
        filters: parseFilters(flags.filter),
      },
    });
    try {
      for await (const line of textLines(response)) output.line(render(line));
    } catch (error) {
      if (error instanceof EngineError && error.code === 'ANSWER_CUT')
        throw new EngineError('Unavailable', error.code, 'the daemon has ended');
      throw error;
    }
  },
});

function renderer(format: string | undefined): (line: string) => string {
  if (format === 'json' || format === '{{json .}}') return (line) => line;
  if (format === undefined || format === '') return (line) => showEvent(parseEvent(line));
  const template = compileTemplate(unescapeFormat(format), { strict: false });
  return (line) => {
    const event = parseEvent(line);
    // Templates see the names of Docker's Go type, which differ from those in the JSON.
    const { status: Status, id: ID, from: From, scope: Scope, time: Time, timeNano: TimeNano } = event;
    return template({ ...event, Status, ID, From, Scope, Time, TimeNano });
  };
}

type Event = Omit<EventMessage, 'timeNano'> & { timeNano: bigint };

/** Nanoseconds since 1970 are more than a number of JavaScript's holds. */
function parseEvent(line: string): Event {
  return JSON.parse(line, (key, value: unknown, { source }: { source?: string } = {}) =>
    key === 'timeNano' && source !== undefined && /^\d+$/.test(source) ? BigInt(source) : value,
  ) as Event;
}

/** Docker's line: local time with nanoseconds, what and to whom, and its attributes by name. */
function showEvent(event: Event): string {
  const attributes = Object.entries(event.Actor.Attributes ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = attributes.length === 0 ? '' : ` (${attributes.map(([name, value]) => `${name}=${value}`).join(', ')})`;
  return `${localTime(event.timeNano)} ${event.Type} ${event.Action} ${event.Actor.ID}${shown}`;
}

/** RFC 3339 with nine digits, `2024-05-01T13:00:00.123456789+02:00`. */
export function localTime(nanoseconds: bigint): string {
  const ms = Number(nanoseconds / 1_000_000n);
  const offset = -new Date(ms).getTimezoneOffset();
  const two = (value: number) => String(value).padStart(2, '0');
  const zone = offset === 0 ? 'Z' : `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const seconds = new Date(ms + offset * 60_000).toISOString().slice(0, 19);
  return `${seconds}.${String(nanoseconds % 1_000_000_000n).padStart(9, '0')}${zone}`;
}
