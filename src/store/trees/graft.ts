import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type Meta } from '../model.ts';
import type { Edit, TreeContext } from '../port.ts';
import { findEntry, isAtOrBelow, isDirectory, joinPath, sameBody, sameMeta, sameTime } from '../tree/entries.ts';
import { type MutableDirectory, type MutableTree, plainDirectory } from '../tree/mutable-tree.ts';
import { resolveNow, resolvePath } from '../tree/resolve.ts';

type Copy = Extract<Edit, { op: 'copy' }>;
type Owner = { uid: number; gid: number };

/** Overlays a directory on another one. What differs between COPY and merge is what may replace what. */
export class Graft {
  readonly #context: TreeContext;
  readonly #tree: MutableTree;
  /** COPY refuses to put a file over a directory or the other way round; a merge replaces. */
  readonly #replaceAny: boolean;
  readonly #transform: Transform;

  constructor(context: TreeContext, tree: MutableTree, options: { replaceAny: boolean; transform: Transform }) {
    this.#context = context;
    this.#tree = tree;
    this.#replaceAny = options.replaceAny;
    this.#transform = options.transform;
  }

  /** Puts all entries of a source directory into `directory`, which lies at `path`. */
  contents(directory: MutableDirectory, path: ByteString, full: Hex, sourcePath: ByteString): void {
    for (const entry of this.#context.node(full)) this.entry(directory, path, entry, joinPath(sourcePath, entry.name));
  }

  /** Puts one entry (its name is already that of the destination) into `directory`, which lies at `path`. */
  entry(directory: MutableDirectory, path: ByteString, entry: Entry, sourcePath: ByteString): void {
    if (this.#transform.leavesOut(sourcePath)) return;
    const target = joinPath(path, entry.name);
    const there = directory.get(entry.name);
    if (isDirectory(there) && isDirectory(entry)) {
      directory.setMeta(entry.name, this.#transform.meta(entry));
      this.contents(directory.child(entry.name), target, entry.full, sourcePath);
      return;
    }
    if (there !== undefined) {
      if (!this.#replaceAny && isDirectory(there) !== isDirectory(entry)) throw typeConflict(target, there, entry);
      this.#tree.hardlinks.removeBelow(target);
    }
    const grafted = this.#transform.deep(entry, sourcePath);
    if (there === undefined || !sameMeta(there, grafted) || !sameTime(there, grafted) || !sameBody(there, grafted, 'full')) {
      directory.set(grafted);
    }
  }
}

/** What COPY changes in what it copies: owner, mode, and paths that it leaves out. */
export class Transform {
  readonly #context: TreeContext;
  readonly #chown: Owner | undefined;
  readonly #chmod: number | undefined;
  readonly #exclude: readonly ByteString[];
  readonly #done = new Map<Hex, { full: Hex; content: Hex }>();

  constructor(context: TreeContext, options: Pick<Copy, 'chown' | 'chmod' | 'exclude'> = {}) {
    this.#context = context;
    this.#chown = options.chown;
    this.#chmod = options.chmod;
    this.#exclude = options.exclude ?? [];
  }

  leavesOut(sourcePath: ByteString): boolean {
    return this.#exclude.some((excluded) => isAtOrBelow(sourcePath, excluded));
  }

  /** Metadata of an entry itself. A symlink has no mode of its own. */
  meta<T extends Entry>(entry: T): T {
    if (this.#chown === undefined && this.#chmod === undefined) return entry;
    const mode = entry.type === EntryType.symlink ? entry.mode : (this.#chmod ?? entry.mode);
    return { ...entry, ...this.#chown, mode };
  }

  /** An entry with all below it. */
  deep(entry: Entry, sourcePath: ByteString): Entry {
    const changed = this.meta(entry);
    if (!isDirectory(changed)) return changed;
    const excludesBelow = this.#exclude.some((excluded) => isAtOrBelow(excluded, sourcePath));
    if (!excludesBelow && this.#chown === undefined && this.#chmod === undefined) return changed;
    const known = excludesBelow ? undefined : this.#done.get(changed.full);
    if (known !== undefined) return { ...changed, ...known };
    const below: Entry[] = [];
    for (const child of this.#context.node(changed.full)) {
      const path = joinPath(sourcePath, child.name);
      if (!this.leavesOut(path)) below.push(this.deep(child, path));
    }
    const digests = this.#context.putNode(below);
    if (!excludesBelow) this.#done.set(changed.full, digests);
    return { ...changed, ...digests };
  }

  /** What a directory gets that the copy has to make on its way. */
  get parents(): Meta {
    return { ...plainDirectory, ...this.#chown };
  }
}

/** The `copy` edit: see its description in port.ts. */
export function copyInto(context: TreeContext, tree: MutableTree, edit: Copy): void {
  const from = context.root(edit.from);
  const source = findSource(context, edit);
  const transform = new Transform(context, edit);
  const graft = new Graft(context, tree, { replaceAny: false, transform });
  const keep = (path: ByteString) => !transform.leavesOut(path);
  const destination = tree.resolveForWriting(edit.dest, { follow: true, parents: transform.parents });

  if (edit.contents || source.entry === undefined) {
    if (source.directory === undefined) throw notADirectory(edit);
    const meta = source.entry === undefined ? undefined : transform.meta(source.entry);
    const directory = destination.directory ?? makeDestination(destination, edit, meta ?? transform.parents);
    graft.contents(directory, destination.path, source.directory, source.path);
  } else if (destination.parent === undefined || destination.name === undefined) {
    throw new EngineError('Conflict', 'COPY_OVER_ROOT', `/${toText(source.path)} cannot take the place of the root directory`);
  } else {
    const parentPath = destination.path.slice(0, Math.max(0, destination.path.length - destination.name.length - 1)) as ByteString;
    graft.entry(destination.parent, parentPath, { ...source.entry, name: destination.name }, source.path);
  }
  tree.hardlinks.graft(from.hardlinks, source.path, destination.path, keep);
}

function makeDestination(destination: ReturnType<MutableTree['resolveForWriting']>, edit: Copy, meta: Meta): MutableDirectory {
  if (destination.exists || destination.parent === undefined || destination.name === undefined) {
    throw new EngineError('Conflict', 'NOT_A_DIRECTORY', `/${toText(edit.dest)} is not a directory, so nothing can be copied into it`, {
      hint: 'Remove that file first, or choose another destination.',
    });
  }
  const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = meta;
  return destination.parent.makeChild(destination.name, { mode, uid, gid, mtimeSec, mtimeNsec, xattrs });
}

/** `directory`: the node, when the source is one. `entry` is missing for the root. */
function findSource(context: TreeContext, edit: Copy): { path: ByteString; entry?: Entry; directory?: Hex } {
  const root = context.root(edit.from);
  const entryOf = (directory: Hex, name: ByteString) => findEntry(context.node(directory), name);
  const resolved = resolveNow(resolvePath(root.full, edit.source, { follow: false }), ({ directory, name }) =>
    describe(entryOf(directory, name)),
  );
  if (resolved === undefined || !resolved.exists) {
    throw new EngineError('NotFound', 'COPY_SOURCE_NOT_FOUND', `/${toText(edit.source)} is not there to be copied`, {
      hint: 'Check the path, and .dockerignore when it comes from the build context.',
    });
  }
  if (resolved.parent === undefined || resolved.name === undefined)
    return { path: resolved.path, directory: resolved.directory ?? root.full };
  const entry = entryOf(resolved.parent, resolved.name);
  return { path: resolved.path, ...(entry && { entry }), ...(isDirectory(entry) && { directory: entry.full }) };
}

/** An entry as an answer to a path's resolution. */
export function describe(entry: Entry | undefined): { directory?: Hex; link?: ByteString } | undefined {
  if (entry === undefined) return undefined;
  if (entry.type === EntryType.symlink) return { link: entry.target };
  return isDirectory(entry) ? { directory: entry.full } : {};
}

function notADirectory(edit: Copy): EngineError {
  return new EngineError('InvalidArgument', 'COPY_SOURCE_NOT_A_DIRECTORY', `/${toText(edit.source)} is not a directory`);
}

function typeConflict(path: ByteString, there: Entry, entry: Entry): EngineError {
  const over = isDirectory(there) ? 'a file cannot replace the directory' : 'a directory cannot replace the file or link';
  return new EngineError('Conflict', 'COPY_TYPE_CONFLICT', `${over} /${toText(path)} (copying "${toText(entry.name)}")`, {
    hint: 'Remove it first with RUN rm, or copy to another destination.',
  });
}
