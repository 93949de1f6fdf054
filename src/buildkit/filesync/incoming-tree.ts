import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { portableXattrs } from '../../store/ingest/xattrs.ts';
import { type Entry, EntryType, type Meta, type NodeDigests, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { findEntry, isDirectory, joinPath, sameBody, sameMeta, sameTime } from '../../store/tree/entries.ts';
import { malformed } from '../grpc/frames.ts';
import { hasContent, typeOfMode, unixMode } from './mode.ts';
import type { FileStat } from './packets.ts';

/** More is no build context, and each takes memory until the tree is whole. */
const maxEntries = 4_000_000;

type File = { readonly meta: Meta; size: number; object: Hex | undefined };
type Item = { name: ByteString; file: File } | { name: ByteString; directory: Directory } | { name: ByteString; entry: Entry };
/** While `items` is undefined, all that came is what the earlier directory has, up to `matched` of its entries. */
type Directory = {
  readonly path: ByteString;
  readonly name: ByteString;
  readonly meta: Meta;
  readonly parent: Directory | undefined;
  readonly earlier: readonly Entry[];
  readonly digests: NodeDigests | undefined;
  matched: number;
  items: Item[] | undefined;
  byName: Map<string, Item> | undefined;
  /** Something in it lacks content, here or further down. */
  waits: boolean;
};

const rootMeta: Meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };

/**
 * A tree put together from stats as they arrive: parents first, in the order of a walk. A file that an earlier tree has with the same size, mode, time and attributes keeps that one's content, as BuildKit's own
 * comparison does (fsutil `DiffMetadata`); for the others `add` asks. Owners become 0:0. A directory is encoded once the walk has left it, and one that is as it was is not even that: what is in memory are the
 * directories on the way, and those that wait for content.
 */
export class IncomingTree {
  readonly #context: TreeContext;
  readonly #root: Directory;
  /** Where the walk is. */
  #current: Directory;
  /** Names of files that have several, by the first one. */
  readonly #links = new Map<ByteString, ByteString[]>();
  #entries = 0;
  files = 0;
  bytes = 0;

  constructor(context: TreeContext, earlier: TreeId | undefined) {
    this.#context = context;
    const root = earlier === undefined ? undefined : context.root(earlier);
    this.#root = this.#open({ path: '' as ByteString, name: '' as ByteString, meta: rootMeta, parent: undefined }, root);
    this.#current = this.#root;
  }

  /** Gives the file when its content has to be asked for. */
  add(stat: FileStat): File | undefined {
    if (++this.#entries > maxEntries) {
      throw new EngineError('InvalidArgument', 'CONTEXT_TOO_LARGE', `the context has more than ${maxEntries} entries`, {
        hint: 'Leave folders out with a .dockerignore.',
      });
    }
    const { parent, name } = this.#place(stat.path);
    const meta = metaOf(stat);
    const type = typeOfMode(stat.mode);
    switch (type) {
      case undefined:
        return undefined; // A socket: nothing can be made of it, as in every build context.
      case EntryType.directory: {
        if (entryOf(parent, name) !== undefined || itemOf(parent, name) !== undefined)
          throw malformed(`"${toText(stat.path)}" comes twice`);
        const before = findEntry(parent.earlier, name);
        this.#current = this.#open({ path: stat.path, name, meta, parent }, isDirectory(before) ? before : undefined);
        return undefined;
      }
      case EntryType.file:
        return this.#addFile(stat, parent, name, meta);
      case EntryType.symlink:
        put(parent, { ...meta, mode: 0o777, type, name, target: stat.linkname });
        return undefined;
      case EntryType.fifo:
        put(parent, { ...meta, type, name });
        return undefined;
      default:
        put(parent, { ...meta, type, name, major: stat.devmajor, minor: stat.devminor });
        return undefined;
    }
  }

  finish(): TreeRef {
    while (this.#current.parent !== undefined) this.#leave();
    const hardlinks = [...this.#links].map(([first, names]) => [first, ...names].sort());
    hardlinks.sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
    return this.#context.putRoot({ ...rootMeta, ...this.#encode(this.#root), hardlinks });
  }

  #open(made: Pick<Directory, 'path' | 'name' | 'meta' | 'parent'>, before: NodeDigests | undefined): Directory {
    const earlier = before === undefined ? [] : this.#context.node(before.full);
    const items = before === undefined ? [] : undefined;
    return { ...made, earlier, digests: before, matched: 0, items, byName: undefined, waits: false };
  }

  /** The directory that a path is in. Those that the walk has left are over. */
  #place(path: ByteString): { parent: Directory; name: ByteString } {
    const cut = path.lastIndexOf('/');
    const name = path.slice(cut + 1) as ByteString;
    if (path.length > 4096 || name === '' || name === '.' || name === '..' || path.startsWith('/') || path.includes('\0')) {
      throw malformed(`the path "${toText(path.slice(0, 200) as ByteString)}" is not a clean relative one`);
    }
    const directory = cut < 0 ? '' : path.slice(0, cut);
    while (this.#current.path !== directory) {
      const isBelow = this.#current.path === '' || directory.startsWith(`${this.#current.path}/`);
      if (isBelow || this.#current.parent === undefined) throw malformed(`"${toText(path)}" comes before its directory, or after it`);
      this.#leave();
    }
    return { parent: this.#current, name };
  }

  #leave(): void {
    const directory = this.#current;
    const { parent, name } = directory;
    if (parent === undefined) return;
    this.#current = parent;
    if (directory.waits) {
      parent.waits = true;
      add(parent, { name, directory });
    } else put(parent, { ...directory.meta, type: EntryType.directory, name, ...this.#encode(directory) });
  }

  #addFile(stat: FileStat, parent: Directory, name: ByteString, meta: Meta): File | undefined {
    if (!Number.isSafeInteger(stat.size) || stat.size < 0) throw malformed(`"${toText(stat.path)}" has a size of ${stat.size}`);
    this.files++;
    if (stat.linkname !== '') {
      const target = this.#find(stat.linkname);
      if (target === undefined)
        throw malformed(`"${toText(stat.path)}" is a hard link to "${toText(stat.linkname)}", which did not come before`);
      const names = this.#links.get(stat.linkname);
      if (names === undefined) this.#links.set(stat.linkname, [stat.path]);
      else names.push(stat.path);
      if (target.object === undefined) parent.waits = true;
      add(parent, { name, file: target });
      return undefined;
    }
    this.bytes += stat.size;
    const next = parent.items === undefined ? parent.earlier[parent.matched] : undefined;
    const before = next?.name === name ? next : findEntry(parent.earlier, name);
    if (before?.type === EntryType.file && before.size === stat.size && sameMeta(before, meta) && sameTime(before, meta)) {
      if (before === next) parent.matched++;
      else add(parent, { name, entry: before });
      return undefined;
    }
    const file: File = { meta, size: stat.size, object: undefined };
    add(parent, { name, file });
    if (hasContent(stat.mode)) {
      parent.waits = true;
      return file;
    }
    return undefined;
  }

  /** A file that came before, for a hard link to it. */
  #find(path: ByteString): File | undefined {
    let directory = this.#root;
    let entries: readonly Entry[] | undefined;
    const names = path.split('/') as ByteString[];
    const last = names.pop() as ByteString;
    for (const name of names) {
      const open = this.#openBelow(directory, name);
      if (entries === undefined && open !== undefined) {
        directory = open;
        continue;
      }
      const entry = entries === undefined ? entryOf(directory, name) : findEntry(entries, name);
      if (!isDirectory(entry)) return undefined;
      entries = this.#context.node(entry.full);
    }
    const item = entries === undefined ? itemOf(directory, last) : undefined;
    if (item !== undefined && 'file' in item) return item.file;
    const entry = entries === undefined ? entryOf(directory, last) : findEntry(entries, last);
    return entry?.type === EntryType.file ? { meta: plainMeta(entry), size: entry.size, object: entry.object } : undefined;
  }

  /** A directory that is not encoded yet: the walk is in it, or it waits. */
  #openBelow(directory: Directory, name: ByteString): Directory | undefined {
    for (let at: Directory | undefined = this.#current; at !== undefined; at = at.parent)
      if (at.parent === directory && at.name === name) return at;
    const item = itemOf(directory, name);
    return item !== undefined && 'directory' in item ? item.directory : undefined;
  }

  #encode(directory: Directory): NodeDigests {
    const { digests } = directory;
    if (directory.items === undefined && digests !== undefined && directory.matched === directory.earlier.length) {
      return { full: digests.full, content: digests.content };
    }
    const entries = itemsOf(directory).map((item): Entry => {
      if ('entry' in item) return item.entry;
      const { name } = item;
      if ('directory' in item) return { ...item.directory.meta, type: EntryType.directory, name, ...this.#encode(item.directory) };
      const { meta, size, object } = item.file;
      if (object === undefined) throw malformed(`the content of "${toText(joinPath(directory.path, name))}" did not come`);
      return { ...meta, type: EntryType.file, name, size, object };
    });
    return this.#context.putNode(entries);
  }
}

/** The same list, no more only that of the earlier directory. */
function itemsOf(directory: Directory): Item[] {
  directory.items ??= directory.earlier.slice(0, directory.matched).map((entry) => ({ name: entry.name, entry }));
  return directory.items;
}

function itemOf(directory: Directory, name: ByteString): Item | undefined {
  if (directory.items === undefined) return undefined;
  if (directory.byName?.size !== directory.items.length) {
    directory.byName = new Map(directory.items.map((item) => [item.name, item]));
    if (directory.byName.size !== directory.items.length) throw malformed(`a name in "${toText(directory.path)}" comes twice`);
  }
  return directory.byName.get(name);
}

/** What came under that name and is whole. */
function entryOf(directory: Directory, name: ByteString): Entry | undefined {
  if (directory.items === undefined) {
    const entry = findEntry(directory.earlier, name);
    const last = directory.earlier[directory.matched - 1];
    return entry !== undefined && last !== undefined && entry.name <= last.name ? entry : undefined;
  }
  const item = itemOf(directory, name);
  return item !== undefined && 'entry' in item ? item.entry : undefined;
}

function add(directory: Directory, item: Item): void {
  const items = itemsOf(directory);
  items.push(item);
  if (directory.byName?.size === items.length - 1) directory.byName.set(item.name, item);
}

/** One that is as in the earlier directory, and next there, needs no place of its own. */
function put(directory: Directory, entry: Entry): void {
  const next = directory.items === undefined ? directory.earlier[directory.matched] : undefined;
  if (next?.name === entry.name && sameMeta(next, entry) && sameTime(next, entry) && sameBody(next, entry, 'full')) directory.matched++;
  else add(directory, { name: entry.name, entry });
}

function plainMeta({ mode, uid, gid, mtimeSec, mtimeNsec, xattrs }: Meta): Meta {
  return { mode, uid, gid, mtimeSec, mtimeNsec, ...(xattrs === undefined ? {} : { xattrs }) };
}

export type IncomingFile = File;

function metaOf(stat: FileStat): Meta {
  const xattrs = portableXattrs(stat.xattrs.sort(([a], [b]) => (a < b ? -1 : 1)));
  const { mtimeSec, mtimeNsec } = stat;
  return { mode: unixMode(stat.mode), uid: 0, gid: 0, mtimeSec, mtimeNsec, ...(xattrs === undefined ? {} : { xattrs }) };
}
