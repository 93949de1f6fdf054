import { createHash } from 'node:crypto';
import { closeSync, type Dirent, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { type ByteString, fromBuffer, toBytes, toPathBuffer } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { Ignore } from '../../oci/ignore.ts';

/** One line of the list (docs/formats/build-context.md), and by what it is known that nothing changed. */
export type ListedEntry = { readonly stat: string; readonly line: readonly unknown[] };
export type FolderList = {
  readonly entries: Map<ByteString, ListedEntry>;
  readonly files: number;
  readonly hashedFiles: number;
  readonly bytes: number;
};

/** Entries between two looks at whether somebody wants to stop. */
const turnEvery = 1000;
/** A file that was written to so shortly before may be written to again with no sign of it in its times: clocks of file systems tick every few milliseconds. */
const racyNs = 100_000_000n;

/**
 * Walks a folder: parents first, in the order of names, as a build takes it: without what is ignored, sockets and devices. A file's content is read only when `earlier` does not know it.
 * Conflict `FILE_CHANGED` for one that changes while it is read.
 */
export async function listFolder(
  folder: string,
  options: { ignore: Ignore; always: readonly string[]; earlier: ReadonlyMap<ByteString, ListedEntry>; signal: AbortSignal },
): Promise<FolderList> {
  const walk = new Walk(folder, options);
  await walk.directory('' as ByteString);
  return walk;
}

class Walk implements FolderList {
  readonly entries = new Map<ByteString, ListedEntry>();
  files = 0;
  hashedFiles = 0;
  bytes = 0;
  readonly #root: ByteString;
  readonly #options: Parameters<typeof listFolder>[1];
  readonly #always: ReadonlySet<string>;
  /** First names of files with several. */
  readonly #linked = new Map<string, ByteString>();
  readonly #startedNs = BigInt(Date.now()) * 1_000_000n;
  #seen = 0;

  constructor(folder: string, options: Parameters<typeof listFolder>[1]) {
    this.#root = toBytes(folder);
    this.#options = options;
    this.#always = new Set(options.always.map(toBytes));
  }

  async directory(path: ByteString): Promise<void> {
    const { ignore, signal } = this.#options;
    const found = readdirSync(this.#full(path), { withFileTypes: true, encoding: 'buffer' }) as unknown as Dirent<Buffer>[];
    const names = found.map((entry) => ({ name: fromBuffer(entry.name), isDirectory: entry.isDirectory() }));
    names.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const { name, isDirectory } of names) {
      if (++this.#seen % turnEvery === 0) await turn();
      signal.throwIfAborted();
      const child = (path === '' ? name : `${path}/${name}`) as ByteString;
      const ignored = !this.#always.has(child) && ignore.ignores(child, isDirectory);
      if (!isDirectory) {
        if (!ignored) await this.#entry(child);
      } else if (!ignored) {
        this.#putDirectory(child);
        await this.directory(child);
      } else await this.#ignoredDirectory(child);
    }
  }

  /** It is there when something below it is. */
  async #ignoredDirectory(path: ByteString): Promise<void> {
    const mayHave = this.#options.ignore.mayContainIncluded(path) || [...this.#always].some((name) => name.startsWith(`${path}/`));
    if (!mayHave) return;
    const before = this.entries.size;
    this.#putDirectory(path);
    await this.directory(path);
    if (this.entries.size === before + 1) this.entries.delete(path);
  }

  #putDirectory(path: ByteString): void {
    const stats = lstatSync(this.#full(path), { bigint: true });
    this.entries.set(path, { stat: '', line: ['d', path, ...metaOf(stats)] });
  }

  async #entry(path: ByteString): Promise<void> {
    let stats: Stats;
    try {
      stats = lstatSync(this.#full(path), { bigint: true });
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      throw error;
    }
    if (stats.isSymbolicLink()) {
      const target = fromBuffer(readlinkSync(this.#full(path), { encoding: 'buffer' }));
      this.entries.set(path, { stat: '', line: ['l', path, ...metaOf(stats), target] });
    } else if (stats.isFIFO()) this.entries.set(path, { stat: '', line: ['p', path, ...metaOf(stats)] });
    else if (stats.isFile()) await this.#file(path, stats);
  }

  async #file(path: ByteString, stats: Stats): Promise<void> {
    const inode = `${stats.dev}:${stats.ino}`;
    const stat = `${inode}:${stats.ctimeNs}:${stats.mtimeNs}:${stats.size}:${stats.mode}`;
    const target = stats.nlink > 1n ? this.#linked.get(inode) : undefined;
    if (stats.nlink > 1n && target === undefined) this.#linked.set(inode, path);
    const known = this.#options.earlier.get(path);
    const size = Number(stats.size);
    const digest = known?.stat === stat ? (known.line[6] as string) : await this.#hash(path, stats);
    const line = ['f', path, ...metaOf(stats), size, digest, ...(target === undefined ? [] : [target])];
    const racy = stats.ctimeNs > this.#startedNs - racyNs || stats.mtimeNs > this.#startedNs - racyNs;
    this.entries.set(path, { stat: racy ? '' : stat, line });
    this.files++;
    this.bytes += size;
  }

  async #hash(path: ByteString, stats: Stats): Promise<string> {
    this.hashedFiles++;
    const hash = createHash('sha256');
    let read = 0;
    const buffer = Buffer.allocUnsafe(Number(stats.size > 1048576n ? 1048576n : stats.size + 1n));
    const fd = openSync(this.#full(path), 'r');
    try {
      for (let bytes = readSync(fd, buffer); bytes > 0; bytes = readSync(fd, buffer)) {
        hash.update(buffer.subarray(0, bytes));
        read += bytes;
        if (read > 8 * 1048576) {
          await turn();
          this.#options.signal.throwIfAborted();
        }
      }
    } finally {
      closeSync(fd);
    }
    if (read === Number(stats.size)) return hash.digest('hex');
    throw new EngineError('Conflict', 'FILE_CHANGED', `${this.#full(path).toString()} changed while it was read`, {
      hint: 'Try again when nothing writes to it.',
    });
  }

  #full(path: ByteString): Buffer {
    return toPathBuffer((path === '' ? this.#root : `${this.#root}/${path}`) as ByteString);
  }
}

type Stats = import('node:fs').BigIntStats;

function metaOf({ mode, mtimeNs }: Stats): [mode: number, seconds: number, nanoseconds: number] {
  const nanoseconds = ((mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return [Number(mode & 0o7777n), Number((mtimeNs - nanoseconds) / 1_000_000_000n), Number(nanoseconds)];
}
