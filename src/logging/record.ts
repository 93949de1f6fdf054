import type { LogLine } from './port.ts';

/**
 * One record of the spool (docs/formats/log-spool.md): `2026-01-02T03:04:05.123456789+00:00 stdout F text`. `P` says that the text is a piece and its
 * line goes on in the stream's next record.
 */
const space = 0x20;
export const newline = 0x0a;

/** Parses a record without its newline; undefined for what is none, such as the rest of a torn one. `line` is a view of `bytes`. */
export function parseRecord(bytes: Buffer): LogLine | undefined {
  const timeEnd = bytes.indexOf(space);
  if (timeEnd < 20 || timeEnd > 40) return undefined;
  const name = bytes.toString('latin1', timeEnd + 1, timeEnd + 8);
  if (name !== 'stdout ' && name !== 'stderr ') return undefined;
  const tag = bytes[timeEnd + 8];
  if ((tag !== 0x46 && tag !== 0x50) || (bytes.length > timeEnd + 9 && bytes[timeEnd + 9] !== space)) return undefined;
  const timeNs = parseTime(bytes.toString('latin1', 0, timeEnd));
  if (timeNs === undefined) return undefined;
  return { timeNs, stream: name === 'stdout ' ? 'stdout' : 'stderr', line: bytes.subarray(timeEnd + 10), partial: tag === 0x50 };
}

const timePattern = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;
let lastSecond = { text: '', ms: 0 };

/** RFC 3339 with up to nine digits of a second, in ns since 1970. */
export function parseTime(text: string): bigint | undefined {
  const [, second = '', fraction = '', zone = ''] = timePattern.exec(text) ?? [];
  if (second === '') return undefined;
  // Records come in order, thousands a second: the calendar part is worked out once a second.
  const key = second + zone;
  if (key !== lastSecond.text) {
    const ms = Date.parse(second + zone);
    if (Number.isNaN(ms)) return undefined;
    lastSecond = { text: key, ms };
  }
  return BigInt(lastSecond.ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** As the monitor writes it. For tests, and for messages that the engine itself puts into a spool. */
export function formatRecord({ timeNs, stream, line, partial }: LogLine): Buffer {
  const seconds = new Date(Number(timeNs / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  const fraction = String(timeNs % 1_000_000_000n).padStart(9, '0');
  return Buffer.concat([Buffer.from(`${seconds}.${fraction}+00:00 ${stream} ${partial ? 'P' : 'F'} `), line, Buffer.from('\n')]);
}

/** Joins pieces into lines, each stream for itself. A line that is longer than `limitBytes` comes as several, all but the last `partial`. */
export class LineJoiner {
  readonly #limitBytes: number;
  readonly #open = new Map<LogLine['stream'], { first: LogLine; pieces: Buffer[]; bytes: number }>();

  constructor(limitBytes = 1 << 20) {
    this.#limitBytes = limitBytes;
  }

  /** Undefined while the line is unfinished. */
  push(record: LogLine): LogLine | undefined {
    const open = this.#open.get(record.stream);
    if (!open && !record.partial) return record;
    const line = open ?? { first: record, pieces: [], bytes: 0 };
    line.pieces.push(record.line);
    line.bytes += record.line.length;
    if (record.partial && line.bytes < this.#limitBytes) {
      this.#open.set(record.stream, line);
      return undefined;
    }
    this.#open.delete(record.stream);
    return { timeNs: line.first.timeNs, stream: record.stream, line: Buffer.concat(line.pieces), partial: record.partial };
  }

  /** What is unfinished when the spool ends: a process may end without a last newline. In order of time. */
  rest(): LogLine[] {
    const lines = [...this.#open.values()].map(({ first, pieces }) => ({ ...first, line: Buffer.concat(pieces), partial: true }));
    this.#open.clear();
    return lines.sort((a, b) => (a.timeNs < b.timeNs ? -1 : 1));
  }
}
