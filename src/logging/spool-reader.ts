import { type FSWatcher, read, watch } from 'node:fs';
import { promisify } from 'node:util';
import { isErrno } from '../base/errors.ts';
import { currentPath, FilesAhead, SpoolFile, sameFile, spoolPaths, statIfThere } from './files.ts';
import type { LogLine, LogReader, ReadOptions } from './port.ts';
import { LineJoiner, newline, parseRecord } from './record.ts';
import { findTail, type TailStart } from './tail.ts';

const readAt = promisify(read);
const blockBytes = 128 << 10;
/** Room for one record, with its header. */
const minBlockBytes = 12 << 10;
/** A record is a header and at most 8 KiB; what is longer without a newline is no record. */
const recordLimitBytes = 64 << 10;

export type SpoolReaderOptions = {
  /** The folder of a container's spool. */
  directory(containerId: string): string;
  /** Resolves when the container does not run, its output being written then. Asked when a `follow` has no `ended` of its own. */
  ended(containerId: string): Promise<unknown>;
};

/** Reads what monitors wrote, in order, over every rotation, while it is written. */
export class SpoolReader implements LogReader {
  readonly #options: SpoolReaderOptions;

  constructor(options: SpoolReaderOptions) {
    this.#options = options;
  }

  read(containerId: string, options: ReadOptions): AsyncIterable<LogLine> {
    const directory = this.#options.directory(containerId);
    const end = options.tail === 0 ? endOf(directory) : undefined;
    const ended = options.follow ? (options.ended ?? this.#options.ended(containerId)) : undefined;
    ended?.catch(() => undefined);
    return this.#lines(directory, options, end, ended);
  }

  async *#lines(
    directory: string,
    options: ReadOptions,
    end: Position | undefined,
    ended: Promise<unknown> | undefined,
  ): AsyncGenerator<LogLine> {
    const wanted = selector(options);
    const joiner = options.raw ? undefined : new LineJoiner();
    const start = await this.#start(directory, options, end, wanted);
    let skip = start.skip;
    reading: for await (const records of follow(directory, start, ended, options.signal)) {
      for (const record of records) {
        if (options.untilNs !== undefined && record.timeNs > options.untilNs) break reading;
        if (!wanted(record)) continue;
        const line = joiner ? joiner.push(record) : record;
        if (line && skip-- <= 0) yield line;
      }
    }
    for (const line of joiner?.rest() ?? []) if (skip-- <= 0) yield line;
  }

  async #start(
    directory: string,
    options: ReadOptions,
    end: Position | undefined,
    wanted: (record: LogLine) => boolean,
  ): Promise<Position & { skip: number }> {
    if (end) return { ...end, skip: 0 };
    if (options.tail === undefined || options.tail < 0) return { path: undefined, offset: 0, skip: 0 };
    const paths = spoolPaths(directory);
    const tail: TailStart = await findTail(paths, options.tail, wanted);
    return { path: paths[tail.file], offset: tail.offset, skip: tail.skip };
  }
}

/** No path means the oldest file, whenever one appears. */
type Position = { path: string | undefined; offset: number; identity?: { dev: number; ino: number } };

function endOf(directory: string): Position {
  const path = spoolPaths(directory).at(-1);
  const stats = path === undefined ? undefined : statIfThere(path);
  return stats ? { path, offset: stats.size, identity: { dev: stats.dev, ino: stats.ino } } : { path: undefined, offset: 0 };
}

function selector(options: ReadOptions): (record: LogLine) => boolean {
  const { stdout = true, stderr = true, sinceNs, untilNs } = options;
  return (record) =>
    (record.stream === 'stdout' ? stdout : stderr) &&
    (sinceNs === undefined || record.timeNs >= sinceNs) &&
    (untilNs === undefined || record.timeNs <= untilNs);
}

/** Records from a position on, some at a time. Without `ended` it stops at the end of what is there; with it, at that end once `ended` has resolved. */
async function* follow(
  directory: string,
  start: Position,
  ended: Promise<unknown> | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<LogLine[]> {
  using ahead = new FilesAhead(directory);
  using changes = ended ? new Changes(directory, ended, ahead, signal) : undefined;
  let file = openStart(directory, start);
  while (!file) {
    if (!changes || !(await changes.next())) return;
    file = openStart(directory, start);
  }
  ahead.start(file);
  let records = new RecordStream(file, start.offset);
  try {
    for (;;) {
      signal?.throwIfAborted();
      const over = changes?.over ?? true;
      yield* records.read(signal);
      const next = ahead.next();
      if (next) {
        // The writer went on to the next file before that one appeared: one more read gets the last of this one.
        yield* records.read(signal);
        file[Symbol.dispose]();
        file = next;
        records = new RecordStream(file, 0);
        continue;
      }
      if (over) return;
      await changes?.next();
    }
  } finally {
    file[Symbol.dispose]();
  }
}

function openStart(directory: string, start: Position): SpoolFile | undefined {
  if (start.path === undefined) return SpoolFile.open(spoolPaths(directory)[0] ?? currentPath(directory));
  // It may have been closed, and so renamed, since the position was taken.
  for (const path of start.identity ? spoolPaths(directory) : [start.path]) {
    const file = SpoolFile.open(path);
    if (!file) continue;
    if (!start.identity || sameFile(file.identity, start.identity)) return file;
    file[Symbol.dispose]();
  }
  return undefined;
}

/** The complete records of one file, from where the last read ended. A record without its newline waits for it. */
class RecordStream {
  readonly #file: SpoolFile;
  #offset: number;

  constructor(file: SpoolFile, offset: number) {
    this.#file = file;
    this.#offset = offset;
  }

  /** Each batch is what one read found. The records are views of a block that is theirs alone. */
  async *read(signal: AbortSignal | undefined): AsyncGenerator<LogLine[]> {
    for (;;) {
      signal?.throwIfAborted();
      const buffer = Buffer.allocUnsafe(Math.min(blockBytes, Math.max(minBlockBytes, this.#file.size - this.#offset)));
      const { bytesRead } = await readAt(this.#file.fd, buffer, 0, buffer.length, this.#offset);
      const block = buffer.subarray(0, bytesRead);
      const records: LogLine[] = [];
      let begin = 0;
      for (let end = block.indexOf(newline); end !== -1; end = block.indexOf(newline, begin)) {
        const record = parseRecord(block.subarray(begin, end));
        if (record) records.push(record);
        begin = end + 1;
      }
      if (begin === 0 && bytesRead >= recordLimitBytes) begin = bytesRead;
      this.#offset += begin;
      if (records.length > 0) yield records;
      if (begin === 0 || bytesRead < buffer.length) return;
    }
  }
}

/** Wakes a reader when its spool changes or its writer has ended. */
class Changes implements Disposable {
  over = false;
  #changed = false;
  #wake: (() => void) | undefined;
  readonly #watcher: FSWatcher | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #notify = () => {
    this.#changed = true;
    this.#wake?.();
  };

  constructor(directory: string, ended: Promise<unknown>, ahead: FilesAhead, signal: AbortSignal | undefined) {
    const finish = () => {
      ahead.extend();
      this.over = true;
      this.#notify();
    };
    try {
      this.#watcher = watch(directory, { persistent: false }, (event) => {
        if (event === 'rename') ahead.extend();
        this.#notify();
      });
      this.#watcher.on('error', finish);
    } catch (error) {
      // The container was removed, or never had a spool: nothing more will come.
      if (!isErrno(error, 'ENOENT')) throw error;
      this.over = true;
    }
    ended.then(finish, finish);
    this.#signal = signal;
    signal?.addEventListener('abort', this.#notify);
  }

  /** False once the writer has ended. */
  async next(): Promise<boolean> {
    if (!this.#changed && !this.over) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#changed = false;
    this.#signal?.throwIfAborted();
    return !this.over;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    this.#signal?.removeEventListener('abort', this.#notify);
  }
}
