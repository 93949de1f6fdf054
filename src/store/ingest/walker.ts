import { closeSync } from 'node:fs';
import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError, errnoOf, isErrno } from '../../base/errors.ts';
import { DirectoryReader, DirentType } from '../../kernel/directory.ts';
import { type FileStat, S_IFDIR, S_IFMT } from '../../kernel/stat.ts';
import { listXattrsFd } from '../../kernel/xattr.ts';
import type { Hex } from '../../oci/digest.ts';
import type { Ignore } from '../../oci/ignore.ts';
import type { JobContext } from '../jobs/context.ts';
import { type Entry, EntryType, type NodeDigests, type Root } from '../model.ts';
import { joinPath } from '../tree/entries.ts';
import { EntryReader, type EntryReaderOptions, type ReadEntry, type Remembered } from './entry-reader.ts';
import { copyStat } from './file-hasher.ts';
import { LinkCollector } from './link-collector.ts';
import { type StatCache, StatCacheWriter } from './stat-cache.ts';
import { portableXattrs } from './xattrs.ts';

export type WalkerOptions = EntryReaderOptions & {
  /** What the last walk of this folder saw. */
  cache: StatCache | undefined;
  /** Take an unchanged directory's digests from the cache; else encode every node again. */
  trustNodes: boolean;
  ignore: Ignore | undefined;
  /** Whether a new cache is wanted. */
  keepCache: boolean;
};

/** `cacheFile` gives the next cache; undefined when the old one still says all. */
export type Walked = { root: Root; cacheFile(fingerprint: Hex): Buffer | undefined };

/** How far a file's last change must lie behind the walk's start to be told from a later one: a kernel tick, or more where times are whole seconds. */
const tickMs = 20;
const wholeSecondsMs = 2000;

/** What a visit found. `block` is the directory's record: in the old cache when `unchanged`, else in the next one. */
type Visited = NodeDigests & { unchanged: boolean; empty: boolean; block: number };

/** One name of a directory. `record` is its place in the old cache; `stat` is missing when it is as recorded there. */
type Seen = { name: ByteString; record: number | undefined; stat: FileStat | undefined };
type Listing = { entries: Seen[]; directories: Seen[]; unchanged: boolean };

/** Walks a host directory beside what the last walk saw of it, in the file system's own order. For one walk. */
export class Walker {
  readonly entries: EntryReader;
  readonly #context: JobContext;
  readonly #options: WalkerOptions;
  readonly #cache: StatCache | undefined;
  readonly #reader = new DirectoryReader();
  readonly #writer = new StatCacheWriter();
  readonly #links = new LinkCollector();
  readonly #startMs = Date.now();
  #walked = 0;
  #reportedAtMs = Date.now();

  constructor(context: JobContext, options: WalkerOptions) {
    this.#context = context;
    this.#options = options;
    this.#cache = options.cache;
    this.entries = new EntryReader(context, this.#reader, options);
  }

  walk(path: string): Walked {
    const fd = this.#openRoot(path);
    try {
      const xattrs = this.#options.xattrs ? portableXattrs(listXattrsFd(fd)) : undefined;
      const meta = this.entries.meta(this.#reader.statFd(fd), xattrs);
      const { full, content, unchanged, block } = this.#visit(fd, '' as ByteString, this.#cache?.root);
      const root = { ...meta, full, content, hardlinks: this.#links.groups() };
      const wanted = this.#options.keepCache && !unchanged;
      return { root, cacheFile: (fingerprint) => (wanted ? this.#writer.finish(fingerprint, block) : undefined) };
    } finally {
      closeSync(fd);
    }
  }

  #openRoot(path: string): number {
    try {
      return this.#reader.open(path);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
      throw new EngineError('NotFound', 'DIRECTORY_NOT_FOUND', `${path} is not a directory`, { cause: error });
    }
  }

  /** `block`: the directory's record in the old cache. */
  #visit(fd: number, path: ByteString, block: number | undefined): Visited {
    const listing = this.#list(fd, path, block);
    const subtreeStart = this.#writer.position;
    const below = new Map<ByteString, Visited>();
    let unchanged = listing.unchanged && this.#options.trustNodes;
    for (const child of listing.directories) {
      const visited = this.#descend(fd, path, child, block);
      if (!visited?.unchanged) unchanged = false;
      if (visited !== undefined) below.set(child.name, visited);
    }
    if (unchanged && this.#cache !== undefined && block !== undefined) {
      return { ...this.#cache.digests(block), unchanged, empty: listing.entries.length === 0, block };
    }
    return this.#encode(fd, path, block, listing, below, subtreeStart);
  }

  /** Undefined when the directory is gone, or ignored and nothing in it is kept. */
  #descend(fd: number, path: ByteString, child: Seen, block: number | undefined): Visited | undefined {
    const childPath = joinPath(path, child.name);
    const childFd = this.#unlessGone(childPath, () => this.#reader.openAt(fd, child.name));
    if (childFd === undefined) return undefined;
    try {
      const visited = this.#visit(childFd, childPath, this.#childBlock(block, child));
      const ignored = visited.empty && this.#options.ignore?.ignores(childPath, true) === true;
      return ignored ? undefined : visited;
    } finally {
      closeSync(childFd);
    }
  }

  /** However a directory's own metadata changed, what is in it is compared with what was in the one of that name. */
  #childBlock(block: number | undefined, { record }: Seen): number | undefined {
    if (this.#cache === undefined || block === undefined || record === undefined) return undefined;
    return this.#cache.type(record) === EntryType.directory ? this.#cache.childBlock(block, record) : undefined;
  }

  /** The kept names of a directory, each compared with its record. `unchanged`: the same names, all as they were. */
  #list(fd: number, path: ByteString, block: number | undefined): Listing {
    const names = this.#keptNames(fd, path);
    const records = new RecordFinder(this.#cache, block);
    const listing: Listing = { entries: [], directories: [], unchanged: block !== undefined && records.count === names.length };
    for (const name of names) {
      const stat = this.#unlessGone(path, () => this.#reader.statAt(fd, name), name);
      if (stat === undefined) {
        listing.unchanged = false;
        continue;
      }
      const record = records.find(name);
      const same = record !== undefined && this.#cache?.isUnchanged(record, stat) === true;
      if (!same) listing.unchanged = false;
      const isDirectory = (stat.mode & S_IFMT) === S_IFDIR;
      if (stat.nlink > 1 && !isDirectory) this.#links.add(stat, joinPath(path, name));
      const seen = { name, record, stat: same ? undefined : copyStat(stat) };
      listing.entries.push(seen);
      if (isDirectory) listing.directories.push(seen);
    }
    this.#progress(names.length);
    return listing;
  }

  #keptNames(fd: number, path: ByteString): ByteString[] {
    const names = this.#unlessGone(path, () => this.#reader.read(fd)) ?? [];
    const { ignore } = this.#options;
    if (ignore === undefined) return names;
    const types = this.#reader.types;
    return names.filter((name, i) => {
      const child = joinPath(path, name);
      const isDirectory = types[i] === DirentType.unknown ? this.#isDirectory(fd, name) : types[i] === DirentType.directory;
      return !ignore.ignores(child, isDirectory) || (isDirectory && ignore.mayContainIncluded(child));
    });
  }

  #isDirectory(fd: number, name: ByteString): boolean {
    const stat = this.#unlessGone(name, () => this.#reader.statAt(fd, name));
    return stat !== undefined && (stat.mode & S_IFMT) === S_IFDIR;
  }

  /** Encodes a directory that changed, or that nobody has seen before. */
  #encode(
    fd: number,
    path: ByteString,
    block: number | undefined,
    listing: Listing,
    below: ReadonlyMap<ByteString, Visited>,
    subtreeStart: number,
  ): Visited {
    const remember = this.#rememberer(block);
    const read: ReadEntry[] = [];
    for (const seen of listing.entries) {
      const child = joinPath(path, seen.name);
      const found = this.#unlessGone(child, () => {
        const stat = seen.stat ?? copyStat(this.#reader.statAt(fd, seen.name));
        const remembered = seen.stat === undefined ? remember(seen, stat) : undefined;
        return this.entries.read(fd, seen.name, child, stat, below.get(seen.name), remembered);
      });
      if (found === undefined) this.#links.drop(child);
      else read.push(found);
    }
    const digests = this.#context.putNode(read.map(({ entry }) => entry));
    const written = this.#options.keepCache ? this.#record(read, below, digests, subtreeStart) : 0;
    return { ...digests, unchanged: false, empty: read.length === 0, block: written };
  }

  /** What may be taken from the old cache. An object is, when the store has the directory that it was in, or the object itself. */
  #rememberer(block: number | undefined): (seen: Seen, stat: FileStat) => Remembered | undefined {
    const cache = this.#cache;
    if (cache === undefined || block === undefined) return () => undefined;
    const directoryIsStored = this.#context.hasNode(cache.digests(block).full);
    return ({ record }, stat) => {
      if (record === undefined || !cache.isUnchanged(record, stat)) return undefined;
      const object = cache.type(record) === EntryType.file ? cache.object(record) : undefined;
      const stored = object !== undefined && (directoryIsStored || this.#context.objects.has(object));
      return { hasXattrs: cache.hasXattrs(record), object: stored ? object : undefined };
    };
  }

  /** Writes the directory's block, after those of the directories in it. */
  #record(read: readonly ReadEntry[], below: ReadonlyMap<ByteString, Visited>, digests: NodeDigests, subtreeStart: number): number {
    const blocks = new Map<ByteString, number>();
    for (const [name, visited] of below) {
      const copied = visited.unchanged && this.#cache !== undefined;
      blocks.set(name, copied ? this.#writer.copySubtree(this.#cache, visited.block) : visited.block);
    }
    const block = this.#writer.beginBlock(subtreeStart, digests, read.length);
    for (const { entry, stat } of read) {
      const { type, name } = entry;
      const child = type === EntryType.directory ? { block: blocks.get(name) ?? 0, full: entry.full, content: entry.content } : undefined;
      const object = type === EntryType.file ? entry.object : undefined;
      this.#writer.entry({ block, type, name, stat, racy: this.#isRacy(stat), hasXattrs: hasXattrs(entry), object, child });
    }
    return block;
  }

  /** A change within the clock's tick after we read would leave the same times: such an entry is read again next time. */
  #isRacy(stat: FileStat): boolean {
    const slack = stat.ctimeNsec === 0 && stat.mtimeNsec === 0 ? wholeSecondsMs : tickMs;
    return stat.ctimeSec * 1000 + stat.ctimeNsec / 1e6 > this.#startMs - slack;
  }

  /** What others remove during the walk is as if it had been removed before. Other errors name the path. */
  #unlessGone<T>(path: ByteString, read: () => T, name?: ByteString): T | undefined {
    try {
      return read();
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      const errno = errnoOf(error);
      if (error instanceof EngineError || errno === undefined || errno === 'ENOSPC' || errno === 'EDQUOT') throw error;
      const full = name === undefined ? path : joinPath(path, name);
      throw new EngineError('Unavailable', 'FILE_UNREADABLE', `/${toText(full)} cannot be read: ${(error as Error).message}`, {
        cause: error,
        hint: 'Check the file system, or leave the file out with .dockerignore.',
      });
    }
  }

  #progress(names: number): void {
    this.#walked += names;
    const now = Date.now();
    if (now - this.#reportedAtMs < 200) return;
    this.#reportedAtMs = now;
    this.#context.report({ entries: this.#walked, hashedFiles: this.entries.hashedFiles, hashedBytes: this.entries.hashedBytes });
  }
}

function hasXattrs(entry: Entry): boolean {
  return entry.xattrs !== undefined && entry.xattrs.length > 0;
}

/** Finds the records of a directory's names: in step while nothing was added, removed or renamed, else by name. */
class RecordFinder {
  readonly count: number;
  readonly #cache: StatCache | undefined;
  readonly #first: number;
  #next: number;
  #left: number;
  #byName: Map<ByteString, number> | undefined;

  constructor(cache: StatCache | undefined, block: number | undefined) {
    this.#cache = block === undefined ? undefined : cache;
    this.count = this.#cache === undefined || block === undefined ? 0 : this.#cache.entryCount(block);
    this.#first = this.#cache === undefined || block === undefined ? 0 : this.#cache.firstEntry(block);
    this.#next = this.#first;
    this.#left = this.count;
  }

  find(name: ByteString): number | undefined {
    const cache = this.#cache;
    if (cache === undefined) return undefined;
    if (this.#byName === undefined && this.#left > 0 && cache.nameIs(this.#next, name)) {
      const record = this.#next;
      this.#next = cache.nextEntry(record);
      this.#left--;
      return record;
    }
    this.#byName ??= this.#index(cache);
    return this.#byName.get(name);
  }

  #index(cache: StatCache): Map<ByteString, number> {
    const byName = new Map<ByteString, number>();
    for (let left = this.count, record = this.#first; left > 0; left--, record = cache.nextEntry(record)) {
      byName.set(cache.name(record), record);
    }
    return byName;
  }
}
