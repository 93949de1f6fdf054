import { type ByteString, toText } from '../../base/bytes.ts';
import { isHex } from '../../oci/digest.ts';
import { type Entry, EntryType, type FileEntry, type Meta, type NodeDigests, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { isDirectory } from '../../store/tree/entries.ts';
import { invalidList } from './list-lines.ts';

/** More is no build context, and each takes memory until the tree is whole. */
const maxEntries = 4_000_000;

/** A directory that something changes in. What nothing changes in stays an entry. */
type Directory = { meta: Meta; readonly items: Map<ByteString, Entry | Directory> };

const rootMeta: Meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };

/**
 * A tree put together from the lines of a list (docs/formats/build-context.md), parents first, over an earlier tree where the list says only what changed. Directories that no line is about are not looked
 * into. Owners are 0:0.
 */
export class ListedTree {
  readonly #context: TreeContext;
  readonly #root: Directory;
  readonly #touched = new Map<string, Directory>();
  /** Group of names of one file, by each of its paths. */
  readonly #groups = new Map<ByteString, Set<ByteString>>();
  #entries = 0;

  constructor(context: TreeContext, base: TreeId | undefined) {
    this.#context = context;
    const root = base === undefined ? undefined : context.root(base);
    this.#root = { meta: rootMeta, items: new Map(root === undefined ? [] : this.#load(root)) };
    this.#touched.set('', this.#root);
    for (const group of root?.hardlinks ?? []) this.#join(new Set(group));
  }

  /** Gives the object that a file's line names. */
  take(line: unknown): FileEntry['object'] | undefined {
    if (++this.#entries > maxEntries) throw invalidList(`it has more than ${maxEntries} lines`);
    if (!Array.isArray(line)) throw invalidList('a line is no list');
    const [kind, given, ...rest] = line as unknown[];
    const path = cleanPath(given);
    if (kind === '-') {
      this.#remove(path);
      return undefined;
    }
    const { directory, name } = this.#place(path);
    this.#leaveGroup(path);
    if (kind === 'd') {
      this.#putDirectory(directory, name, path, metaOf(rest));
      return undefined;
    }
    this.#forget(path);
    const entry = entryOf(kind, name, rest);
    directory.items.set(name, entry);
    if (entry.type !== EntryType.file) return undefined;
    if (rest[5] !== undefined) this.#link(cleanPath(rest[5]), path);
    return entry.object;
  }

  finish(): TreeRef {
    const digests = this.#encode(this.#root);
    const groups = [...new Set(this.#groups.values())].filter((group) => group.size > 1).map((group) => [...group].sort());
    groups.sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
    return this.#context.putRoot({ ...this.#root.meta, ...digests, hardlinks: groups });
  }

  #load({ full }: NodeDigests): [ByteString, Entry][] {
    return this.#context.node(full).map((entry) => [entry.name, entry]);
  }

  #place(path: ByteString): { directory: Directory; name: ByteString } {
    const cut = path.lastIndexOf('/');
    const directory = this.#open((cut < 0 ? '' : path.slice(0, cut)) as ByteString);
    if (directory === undefined) throw invalidList(`"${toText(path)}" is in no directory`);
    return { directory, name: path.slice(cut + 1) as ByteString };
  }

  /** The directory of that path, to change something in it. Undefined where there is none. */
  #open(path: ByteString): Directory | undefined {
    const known = this.#touched.get(path);
    if (known !== undefined) return known;
    const cut = path.lastIndexOf('/');
    const parent = this.#open((cut < 0 ? '' : path.slice(0, cut)) as ByteString);
    const name = path.slice(cut + 1) as ByteString;
    const entry = parent?.items.get(name);
    if (parent === undefined || entry === undefined || 'items' in entry || !isDirectory(entry)) return undefined;
    const opened: Directory = { meta: entry, items: new Map(this.#load(entry)) };
    parent.items.set(name, opened);
    this.#touched.set(path, opened);
    return opened;
  }

  #putDirectory(parent: Directory, name: ByteString, path: ByteString, meta: Meta): void {
    const there = this.#open(path);
    if (there !== undefined) {
      there.meta = meta;
      return;
    }
    const made: Directory = { meta, items: new Map() };
    parent.items.set(name, made);
    this.#touched.set(path, made);
  }

  #remove(path: ByteString): void {
    const cut = path.lastIndexOf('/');
    const parent = this.#open((cut < 0 ? '' : path.slice(0, cut)) as ByteString);
    parent?.items.delete(path.slice(cut + 1) as ByteString);
    this.#forget(path);
  }

  /** What was below a path that is no directory any more. */
  #forget(path: ByteString): void {
    this.#leaveGroup(path);
    if (!this.#touched.has(path) && this.#groups.size === 0) return;
    const isBelow = (other: string) => other === path || other.startsWith(`${path}/`);
    if (this.#touched.has(path)) for (const other of [...this.#touched.keys()]) if (isBelow(other)) this.#touched.delete(other);
    for (const other of [...this.#groups.keys()]) if (isBelow(other)) this.#leaveGroup(other);
  }

  #join(group: Set<ByteString>): void {
    for (const path of group) this.#groups.set(path, group);
  }

  #leaveGroup(path: ByteString): void {
    this.#groups.get(path)?.delete(path);
    this.#groups.delete(path);
  }

  #link(target: ByteString, path: ByteString): void {
    const group = this.#groups.get(target) ?? new Set([target]);
    group.add(path);
    this.#groups.set(target, group);
    this.#groups.set(path, group);
  }

  #encode(directory: Directory): NodeDigests {
    const entries = [...directory.items].map(([name, item]): Entry => {
      if (!('items' in item)) return item;
      const { mode, uid, gid, mtimeSec, mtimeNsec } = item.meta;
      return { mode, uid, gid, mtimeSec, mtimeNsec, type: EntryType.directory, name, ...this.#encode(item) };
    });
    return this.#context.putNode(entries);
  }
}

function entryOf(kind: unknown, name: ByteString, rest: readonly unknown[]): Entry {
  const meta = metaOf(rest);
  switch (kind) {
    case 'f': {
      const [, , , size, object] = rest;
      if (!Number.isSafeInteger(size) || (size as number) < 0) throw invalidList(`"${toText(name)}" has no size`);
      if (typeof object !== 'string' || !isHex(object)) throw invalidList(`"${toText(name)}" has no digest`);
      return { ...meta, type: EntryType.file, name, size: size as number, object };
    }
    case 'l': {
      const target = rest[3];
      if (typeof target !== 'string' || target === '' || !isBytes(target)) throw invalidList(`the link "${toText(name)}" has no target`);
      return { ...meta, mode: 0o777, type: EntryType.symlink, name, target: target as ByteString };
    }
    case 'p':
      return { ...meta, type: EntryType.fifo, name };
    default:
      throw invalidList(`"${toText(name)}" is of a kind that is not known`);
  }
}

function metaOf([mode, mtimeSec, mtimeNsec]: readonly unknown[]): Meta {
  const isNumber = (value: unknown, least: number, most: number): value is number =>
    Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
  if (!isNumber(mode, 0, 0o7777) || !isNumber(mtimeSec, -(2 ** 40), 2 ** 40) || !isNumber(mtimeNsec, 0, 999_999_999)) {
    throw invalidList('a mode or a time is none');
  }
  return { mode, uid: 0, gid: 0, mtimeSec, mtimeNsec };
}

function cleanPath(path: unknown): ByteString {
  const isClean =
    typeof path === 'string' &&
    path.length <= 4096 &&
    isBytes(path) &&
    path.split('/').every((name) => name !== '' && name !== '.' && name !== '..' && name.length <= 255);
  if (!isClean) throw invalidList(`the path ${JSON.stringify(path)?.slice(0, 200)} is not a clean relative one`);
  return path as ByteString;
}

/** Each letter stands for a byte of a name. */
function isBytes(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: names may have any byte but NUL
  return /^[\u0001-\u00ff]*$/.test(text);
}
