import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { portableXattrs } from '../../store/ingest/xattrs.ts';
import { type Entry, EntryType, type Meta, type NodeDigests, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { findEntry, isDirectory, joinPath, sameMeta, sameTime } from '../../store/tree/entries.ts';
import { malformed } from '../grpc/frames.ts';
import { hasContent, typeOfMode, unixMode } from './mode.ts';
import type { FileStat } from './packets.ts';

/** More is no build context, and each takes memory until the tree is whole. */
const maxEntries = 4_000_000;

type File = { readonly meta: Meta; size: number; object: Hex | undefined; names: ByteString[] | undefined };
type Item = { name: ByteString; file: File } | { name: ByteString; directory: Directory } | { name: ByteString; entry: Entry };
type Directory = { meta: Meta; readonly items: Item[]; byName: Map<string, Item> | undefined; readonly earlier: readonly Entry[] };

const rootMeta: Meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };

/**
 * A tree put together from stats as they arrive, parents first. A file that an earlier tree has with the same size, mode, time and attributes keeps that one's
 * content, as BuildKit's own comparison does (fsutil `DiffMetadata`); the others are told to `onMissing`. Owners become 0:0.
 */
export class IncomingTree {
  readonly #context: TreeContext;
  readonly #root: Directory;
  readonly #directories = new Map<string, Directory>();
  #entries = 0;
  files = 0;
  bytes = 0;

  constructor(context: TreeContext, earlier: TreeId | undefined) {
    this.#context = context;
    const root = earlier === undefined ? undefined : context.root(earlier);
    this.#root = { meta: rootMeta, items: [], byName: undefined, earlier: root === undefined ? [] : context.node(root.full) };
    this.#directories.set('', this.#root);
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
    const before = findEntry(parent.earlier, name);
    switch (type) {
      case undefined:
        return undefined; // A socket: nothing can be made of it, as in every build context.
      case EntryType.directory:
        this.#addDirectory(stat.path, parent, name, meta, before);
        return undefined;
      case EntryType.file:
        return this.#addFile(stat, parent, name, meta, before);
      case EntryType.symlink:
        put(parent, { name, entry: { ...meta, mode: 0o777, type, name, target: stat.linkname } });
        return undefined;
      case EntryType.fifo:
        put(parent, { name, entry: { ...meta, type, name } });
        return undefined;
      default:
        put(parent, { name, entry: { ...meta, type, name, major: stat.devmajor, minor: stat.devminor } });
        return undefined;
    }
  }

  finish(): TreeRef {
    const groups: ByteString[][] = [];
    const digests = this.#encode(this.#root, '' as ByteString, groups);
    const hardlinks = groups.filter((names) => names.length > 1).map((names) => names.sort());
    hardlinks.sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
    return this.#context.putRoot({ ...this.#root.meta, ...digests, hardlinks });
  }

  #place(path: ByteString): { parent: Directory; name: ByteString } {
    const cut = path.lastIndexOf('/');
    const name = path.slice(cut + 1) as ByteString;
    if (path.length > 4096 || name === '' || name === '.' || name === '..' || path.startsWith('/') || path.includes('\0')) {
      throw malformed(`the path "${toText(path.slice(0, 200) as ByteString)}" is not a clean relative one`);
    }
    const parent = this.#directories.get(cut < 0 ? '' : path.slice(0, cut));
    if (parent === undefined) throw malformed(`"${toText(path)}" comes before its directory`);
    return { parent, name };
  }

  #addDirectory(path: ByteString, parent: Directory, name: ByteString, meta: Meta, before: Entry | undefined): void {
    const directory: Directory = {
      meta,
      items: [],
      byName: undefined,
      earlier: isDirectory(before) ? this.#context.node(before.full) : [],
    };
    if (this.#directories.has(path)) throw malformed(`"${toText(path)}" comes twice`);
    this.#directories.set(path, directory);
    put(parent, { name, directory });
  }

  #addFile(stat: FileStat, parent: Directory, name: ByteString, meta: Meta, before: Entry | undefined): File | undefined {
    if (!Number.isSafeInteger(stat.size) || stat.size < 0) throw malformed(`"${toText(stat.path)}" has a size of ${stat.size}`);
    this.files++;
    if (stat.linkname !== '') {
      const target = this.#find(stat.linkname);
      if (target === undefined)
        throw malformed(`"${toText(stat.path)}" is a hard link to "${toText(stat.linkname)}", which did not come before`);
      put(parent, { name, file: target });
      return undefined;
    }
    this.bytes += stat.size;
    const same = before?.type === EntryType.file && before.size === stat.size && sameMeta(before, meta) && sameTime(before, meta);
    const file: File = { meta, size: stat.size, object: same ? before.object : undefined, names: undefined };
    put(parent, { name, file });
    return same || !hasContent(stat.mode) ? undefined : file;
  }

  /** A file that came before, for a hard link to it. */
  #find(path: ByteString): File | undefined {
    const cut = path.lastIndexOf('/');
    const directory = this.#directories.get(cut < 0 ? '' : path.slice(0, cut));
    if (directory === undefined) return undefined;
    directory.byName ??= new Map(directory.items.map((item) => [item.name, item]));
    const item = directory.byName.get(path.slice(cut + 1));
    if (item === undefined || !('file' in item)) return undefined;
    item.file.names ??= [];
    return item.file;
  }

  #encode(directory: Directory, path: ByteString, groups: ByteString[][]): NodeDigests {
    const entries = directory.items.map((item): Entry => {
      if ('entry' in item) return item.entry;
      if ('directory' in item) {
        const digests = this.#encode(item.directory, joinPath(path, item.name), groups);
        return { ...item.directory.meta, type: EntryType.directory, name: item.name, ...digests };
      }
      const { file, name } = item;
      if (file.object === undefined) throw malformed(`the content of "${toText(joinPath(path, name))}" did not come`);
      if (file.names !== undefined) {
        if (file.names.push(joinPath(path, name)) === 1) groups.push(file.names);
      }
      return { ...file.meta, type: EntryType.file, name, size: file.size, object: file.object };
    });
    return this.#context.putNode(entries);
  }
}

export type IncomingFile = File;

function put(directory: Directory, item: Item): void {
  directory.items.push(item);
  directory.byName?.set(item.name, item);
}

function metaOf(stat: FileStat): Meta {
  const xattrs = portableXattrs(stat.xattrs.sort(([a], [b]) => (a < b ? -1 : 1)));
  const { mtimeSec, mtimeNsec } = stat;
  return { mode: unixMode(stat.mode), uid: 0, gid: 0, mtimeSec, mtimeNsec, ...(xattrs === undefined ? {} : { xattrs }) };
}
