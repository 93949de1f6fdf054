import type { ByteString } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { DirectoryReader } from '../../kernel/directory.ts';
import { type FileStat, S_IFDIR, S_IFMT, S_IFREG } from '../../kernel/stat.ts';
import { listXattrsAt, listXattrsFd } from '../../kernel/xattr.ts';
import type { Hex } from '../../oci/digest.ts';
import { type DirectoryEntry, type Entry, EntryType, type Meta, type Root } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { type BaseTree, findEntry, joinPath } from './base-tree.ts';
import type { CopiedUpLinks } from './copied-up-links.ts';
import { LinkGroups } from './links.ts';
import { partXattrs, sameXattrs, type UpperXattrs } from './private-xattrs.ts';
import type { StubNode } from './stubs.ts';
import { isWhiteout, metaOf, UpperEntries } from './upper-entry.ts';

/** What a walk does with what it finds: a capture stores content and nodes, a listing only notes the paths. */
export interface UpperSink {
  /** Stores the content of an open file of the upper layer. */
  readonly content: (fd: number) => { object: Hex; size: number };
  node(entries: readonly Entry[]): { full: Hex; content: Hex };
  added(path: ByteString, after: Entry): void;
  modified(path: ByteString, before: Entry, after: Entry): void;
  deleted(path: ByteString, before: Entry): void;
  /** An entry of the base shows, with all below it, where it was not before: its directory was renamed. */
  moved(path: ByteString, entry: Entry): void;
}

/** One directory of the merged tree. */
type Frame = {
  readonly path: ByteString;
  /** The directory of the base that it merges with; undefined when it is the upper layer's alone. */
  readonly basePath: ByteString | undefined;
  readonly base: readonly Entry[];
  /** Of the upper layer; undefined where only a copied-up hardlink below changes something. */
  readonly upperFd: number | undefined;
  readonly stubs: StubNode | undefined;
  /** Whether `base` is also what the base has at `path`; false below a directory that was renamed or is new. */
  readonly inPlace: boolean;
};

type Merged = { readonly entries: readonly Entry[]; readonly changed: boolean; readonly droppedStubs: number; readonly upperNames: number };

const noEntries: readonly Entry[] = [];
const entriesBetweenReports = 1000;

/**
 * Merges an overlay's upper layer into its base tree, reading only the upper layer and the base's directories that it touches: whiteouts,
 * opaque directories, renamed directories (redirect), metadata-only copy-ups, hardlinks. The layer is read raw, not through the mount:
 * every private attribute is then visible, and a stopped container needs no mount. Follows fs/overlayfs/namei.c (ovl_lookup).
 */
export class UpperWalk {
  readonly links = new LinkGroups();
  readonly #context: TreeContext;
  readonly #base: BaseTree;
  readonly #copiedUp: CopiedUpLinks;
  readonly #sink: UpperSink;
  readonly #reader = new DirectoryReader();
  readonly #entries: UpperEntries;
  /** Entries of upper inodes with several names, so that their content is read once. */
  readonly #linked = new Map<string, Entry>();
  #visited = 0;

  constructor(context: TreeContext, base: BaseTree, copiedUp: CopiedUpLinks, sink: UpperSink) {
    this.#context = context;
    this.#base = base;
    this.#copiedUp = copiedUp;
    this.#sink = sink;
    this.#entries = new UpperEntries(this.#reader, sink.content);
  }

  /** The merged tree's root, its hardlink groups among it. */
  run(upper: string, stubs: StubNode): Root {
    const fd = this.#reader.open(upper);
    try {
      const before = this.#base.root;
      const path = '' as ByteString;
      const base = this.#base.directory(path) ?? noEntries;
      const merged = this.#merge({ path, basePath: path, base, upperFd: fd, stubs, inPlace: true });
      const meta = metaOf(this.#reader.statFd(fd), partXattrs(listXattrsFd(fd)).own);
      const digests = merged.changed ? this.#sink.node(merged.entries) : before;
      const hardlinks = this.links.finish(before.hardlinks, (group) => this.#copiedUp.has(group));
      return { ...settleMeta(meta, before, merged), full: digests.full, content: digests.content, hardlinks };
    } finally {
      this.#reader.close(fd);
    }
  }

  #merge(frame: Frame): Merged {
    const names = frame.upperFd === undefined ? [] : this.#reader.read(frame.upperFd).sort();
    const replaced = new Set<string>();
    const found: Entry[] = [];
    let [changed, droppedStubs] = [false, 0];
    for (const name of names) {
      const stub = frame.stubs?.children.get(name);
      const before = findEntry(frame.base, name);
      const result = this.#upperName(frame, name, before, stub);
      if (result === 'stub') {
        droppedStubs++;
        continue;
      }
      replaced.add(name);
      if (result !== undefined) found.push(result);
      if (result !== before) changed = true;
    }
    if (frame.basePath !== undefined) this.links.addShown(frame.basePath, frame.path, replaced);
    const kept = this.#keptFromBase(frame, replaced);
    const entries = found.concat(kept.entries).sort((a, b) => (a.name < b.name ? -1 : 1));
    return { entries, changed: changed || kept.changed, droppedStubs, upperNames: names.length };
  }

  /** The base's entries that the upper layer does not replace. */
  #keptFromBase(frame: Frame, replaced: ReadonlySet<string>): { entries: Entry[]; changed: boolean } {
    const entries: Entry[] = [];
    let changed = false;
    for (const before of frame.base) {
      if (replaced.has(before.name)) continue;
      const after = this.#copiedUp.isEmpty ? before : this.#withCopiedUpLinks(frame, before);
      if (after !== before) changed = true;
      else if (!frame.inPlace) this.#sink.moved(joinPath(frame.path, before.name), before);
      entries.push(after);
    }
    return { entries, changed };
  }

  /** A file whose other name was written through has changed though the upper layer does not show it here. */
  #withCopiedUpLinks(frame: Frame, before: Entry): Entry {
    const path = joinPath(frame.path, before.name);
    const basePath = joinPath(frame.basePath ?? ('' as ByteString), before.name);
    if (before.type === EntryType.directory) {
      if (!this.#copiedUp.isAbove(basePath)) return before;
      const base = this.#context.node(before.full);
      const merged = this.#merge({ path, basePath, base, upperFd: undefined, stubs: undefined, inPlace: frame.inPlace });
      if (!merged.changed) return before;
      const after: DirectoryEntry = { ...before, ...this.#sink.node(merged.entries) };
      this.#note(frame, path, before, after);
      return after;
    }
    const moved = this.#copiedUp.at(basePath);
    if (moved === undefined) return before;
    const after: Entry = { ...this.#linkedEntry(moved.fd, moved.file, moved.key, () => moved.base), name: before.name };
    this.links.addUpper(moved.key, path);
    this.#note(frame, path, before, after);
    return after;
  }

  #linkedEntry(dirFd: number, name: ByteString, key: string, lower: () => Entry | undefined): Entry {
    const known = this.#linked.get(key);
    if (known !== undefined) return known;
    const stat = this.#reader.statAt(dirFd, name);
    const entry = this.#entries.leaf(dirFd, name, name, stat, partXattrs(listXattrsAt(dirFd, name)), lower);
    if (entry === undefined) throw new EngineError('DataLoss', 'SNAPSHOT_DAMAGED', `the index entry ${name} of the snapshot is no file`);
    this.#linked.set(key, entry);
    return entry;
  }

  /** What a name of the upper layer stands for: an entry, nothing (deleted), or only the engine's own stubs. */
  #upperName(frame: Frame, name: ByteString, before: Entry | undefined, stub: StubNode | undefined): Entry | undefined | 'stub' {
    // Only a frame with an upper directory has names.
    const dirFd = frame.upperFd as number;
    const path = joinPath(frame.path, name);
    if (++this.#visited % entriesBetweenReports === 0) this.#context.report({ entries: this.#visited });
    try {
      const stat = this.#reader.statAt(dirFd, name);
      if ((stat.mode & S_IFMT) === S_IFDIR) return this.#directory(frame, name, path, before, stub);
      if (stub?.isStub && (stat.mode & S_IFMT) === S_IFREG && stat.size === 0) return 'stub';
      const xattrs = partXattrs(listXattrsAt(dirFd, name));
      const after = this.#named(frame, name, path, stat, xattrs);
      this.#note(frame, path, before, after);
      return after;
    } catch (error) {
      // A running container has removed it since the directory was read.
      if (!isErrno(error, 'ENOENT')) throw error;
      this.#note(frame, path, before, undefined);
      return undefined;
    }
  }

  #named(frame: Frame, name: ByteString, path: ByteString, stat: FileStat, xattrs: UpperXattrs): Entry | undefined {
    const dirFd = frame.upperFd as number;
    if (isWhiteout(stat, xattrs)) return undefined;
    const lower = () => this.#lowerFile(frame, name, xattrs.redirect);
    if (stat.nlink === 1) return this.#entries.leaf(dirFd, name, path, stat, xattrs, lower);
    const key = stat.inodeKey;
    const known = this.#linked.get(key);
    const entry = known === undefined ? this.#entries.leaf(dirFd, name, path, stat, xattrs, lower) : { ...known, name };
    if (entry === undefined) return undefined;
    this.#linked.set(key, entry);
    this.links.addUpper(key, path);
    return entry;
  }

  /** The base's file whose content a metadata-only copy-up still has. */
  #lowerFile(frame: Frame, name: ByteString, redirect: ByteString | undefined): Entry | undefined {
    if (redirect?.startsWith('/')) return this.#base.lookup(redirect.slice(1) as ByteString);
    return findEntry(frame.base, redirect ?? name);
  }

  #directory(frame: Frame, name: ByteString, path: ByteString, before: Entry | undefined, stubs: StubNode | undefined): Entry | 'stub' {
    const upperFd = this.#reader.openAt(frame.upperFd as number, name);
    try {
      const xattrs = partXattrs(listXattrsFd(upperFd));
      const basePath = this.#lowerDirectory(frame, name, xattrs);
      const base = basePath === undefined ? noEntries : (this.#base.directory(basePath) ?? noEntries);
      const inPlace = frame.inPlace && basePath === joinPath(frame.basePath ?? ('' as ByteString), name) && frame.basePath !== undefined;
      const earlier = inPlace && before?.type === EntryType.directory ? before : undefined;
      const merged = this.#merge({ path, basePath, base, upperFd, stubs, inPlace: earlier !== undefined });
      // Made only to mount over, or to hold what is: not part of the tree.
      const isForMounts = stubs?.isStub || merged.droppedStubs > 0;
      if (before === undefined && isForMounts && merged.droppedStubs === merged.upperNames && merged.entries.length === 0) return 'stub';
      const own = metaOf(this.#reader.statFd(upperFd), xattrs.own);
      const meta = earlier === undefined ? own : settleMeta(own, earlier, merged);
      if (earlier !== undefined && !merged.changed && sameMeta(meta, earlier)) return earlier;
      const digests = earlier !== undefined && !merged.changed ? earlier : this.#sink.node(merged.entries);
      const after: Entry = { ...meta, type: EntryType.directory, name, full: digests.full, content: digests.content };
      if (earlier === undefined) this.#noteHidden(frame, path, before, merged.entries);
      this.#note(frame, path, before, after);
      return after;
    } finally {
      this.#reader.close(upperFd);
    }
  }

  /** Where in the base a directory of the upper layer goes on; undefined when it hides what is there, or nothing is. */
  #lowerDirectory(frame: Frame, name: ByteString, { opaque, redirect }: UpperXattrs): ByteString | undefined {
    if (opaque) return undefined;
    let path: ByteString | undefined;
    if (redirect?.startsWith('/')) path = redirect.slice(1) as ByteString;
    else if (frame.basePath !== undefined) path = joinPath(frame.basePath, redirect ?? name);
    return path !== undefined && this.#base.directory(path) !== undefined ? path : undefined;
  }

  #note(frame: Frame, path: ByteString, before: Entry | undefined, after: Entry | undefined): void {
    const earlier = frame.inPlace ? before : undefined;
    if (after === undefined) {
      if (earlier !== undefined) this.#sink.deleted(path, earlier);
    } else if (earlier === undefined) this.#sink.added(path, after);
    else this.#sink.modified(path, earlier, after);
  }

  /** A directory that replaces the base's: what was in that and has no successor is gone. */
  #noteHidden(frame: Frame, path: ByteString, before: Entry | undefined, entries: readonly Entry[]): void {
    if (!frame.inPlace || before?.type !== EntryType.directory) return;
    for (const child of this.#context.node(before.full)) {
      if (findEntry(entries, child.name) === undefined) this.#sink.deleted(joinPath(path, child.name), child);
    }
  }
}

/** A directory that only got stubs keeps its time: the engine's mounts changed it, not the container. */
function settleMeta(meta: Meta, before: Meta, merged: Merged): Meta {
  const onlyStubs = merged.droppedStubs > 0 && !merged.changed;
  return onlyStubs ? { ...meta, mtimeSec: before.mtimeSec, mtimeNsec: before.mtimeNsec } : meta;
}

function sameMeta(a: Meta, b: Meta): boolean {
  const same = a.mode === b.mode && a.uid === b.uid && a.gid === b.gid && a.mtimeSec === b.mtimeSec && a.mtimeNsec === b.mtimeNsec;
  return same && sameXattrs(a.xattrs, b.xattrs);
}
