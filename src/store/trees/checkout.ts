import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
} from 'node:fs';
import { type ByteString, toPathBuffer, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { copyRange, lchown, mkfifo, mknod, seekHoles, setTimes } from '../../kernel/files.ts';
import { setXattr } from '../../kernel/xattr.ts';
import type { Hex } from '../../oci/digest.ts';
import { type DirectoryEntry, type Entry, EntryType, type Meta, type TreeId } from '../model.ts';
import type { TreeContext } from '../port.ts';
import { joinPath } from '../tree/entries.ts';
import { HardlinkTable } from '../tree/hardlinks.ts';

const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
/** Below this a hole saves nothing. */
const smallFileBytes = 64 * 1024;

/**
 * `store.checkout`: writes a tree below an empty host directory: bytes, holes, hardlinks, owners, modes, extended attributes and times.
 * It only ever creates names that were not there, so no symlink of the tree can lead it elsewhere.
 */
export function checkoutTree(context: TreeContext, { tree, directory }: { tree: TreeId; directory: string }): void {
  if (readdirSync(directory).length > 0) {
    throw new EngineError('Conflict', 'DIRECTORY_NOT_EMPTY', `${directory} is not empty`, { hint: 'Give an empty directory.' });
  }
  const root = context.root(tree);
  const base = Buffer.from(directory).toString('latin1') as ByteString;
  const checkout = new Checkout(context, base, new HardlinkTable(root.hardlinks));
  checkout.contents(root.full, '' as ByteString);
  checkout.finish('' as ByteString, root);
}

class Checkout {
  readonly #context: TreeContext;
  readonly #base: ByteString;
  readonly #links: HardlinkTable;
  /** The name under which a hardlink group was written first. */
  readonly #written = new Map<ReadonlySet<ByteString>, ByteString>();

  constructor(context: TreeContext, base: ByteString, links: HardlinkTable) {
    this.#context = context;
    this.#base = base;
    this.#links = links;
  }

  contents(full: Hex, path: ByteString): void {
    for (const entry of this.#context.node(full)) this.#entry(entry, joinPath(path, entry.name));
  }

  #entry(entry: Entry, path: ByteString): void {
    if (entry.type === EntryType.directory) {
      this.#directory(entry, path);
      return;
    }
    const group = this.#links.groupOf(path);
    const first = group === undefined ? undefined : this.#written.get(group);
    if (first !== undefined) {
      linkSync(this.#host(first), this.#host(path));
      return;
    }
    this.#create(entry, path);
    this.finish(path, entry);
    if (group !== undefined) this.#written.set(group, path);
  }

  #directory(entry: DirectoryEntry, path: ByteString): void {
    mkdirSync(this.#host(path), 0o700);
    this.contents(entry.full, path);
    this.finish(path, entry);
  }

  #create(entry: Exclude<Entry, DirectoryEntry>, path: ByteString): void {
    const host = this.#host(path);
    switch (entry.type) {
      case EntryType.file:
        copyObject(this.#context.objectPath(entry.object), host, entry.size, path);
        break;
      case EntryType.symlink:
        symlinkSync(toPathBuffer(entry.target), host);
        break;
      case EntryType.charDevice:
        mknod(host, S_IFCHR | 0o600, entry.major, entry.minor);
        break;
      case EntryType.blockDevice:
        mknod(host, S_IFBLK | 0o600, entry.major, entry.minor);
        break;
      case EntryType.fifo:
        mkfifo(host, 0o600);
        break;
    }
  }

  /** Owner first (it clears setuid and capabilities), time last (all else changes it). */
  finish(path: ByteString, meta: Meta & { type?: EntryType }): void {
    const host = this.#host(path);
    lchown(host, meta.uid, meta.gid);
    if (meta.type !== EntryType.symlink) chmodSync(host, meta.mode);
    for (const [name, value] of meta.xattrs ?? []) setXattr(host, name, value);
    setTimes(host, meta.mtimeSec, meta.mtimeNsec);
  }

  #host(path: ByteString): Buffer {
    return toPathBuffer(joinPath(this.#base, path));
  }
}

/** A new file with an object's bytes: shared extents where the file system has them, holes kept. */
function copyObject(object: string, target: Buffer, size: number, path: ByteString): void {
  if (size <= smallFileBytes) {
    copyFileSync(object, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    return;
  }
  const source = openSync(object, 'r');
  try {
    if (fstatSync(source).size !== size) {
      throw new EngineError(
        'DataLoss',
        'OBJECT_DAMAGED',
        `the object of /${toText(path)} has ${fstatSync(source).size} bytes instead of ${size}`,
      );
    }
    const destination = openSync(target, 'wx', 0o600);
    try {
      for (const [start, end] of seekHoles(source, size)) copyRange(source, start, destination, start, end - start);
      ftruncateSync(destination, size);
    } finally {
      closeSync(destination);
    }
  } finally {
    closeSync(source);
  }
}
