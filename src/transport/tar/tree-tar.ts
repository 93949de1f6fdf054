import { closeSync, openSync, readSync } from 'node:fs';
import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { TarMember } from '../../oci/tar/member.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../oci/tar/writer.ts';
import { type Entry, EntryType, type FileEntry, type Meta, type TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';

const batchBytes = 256 * 1024;
const none = '' as ByteString;
export const whiteoutPrefix = '.wh.';

/**
 * A whole tree as a tar, in chunks that the caller may keep. Names in path order, a directory before what is in it, the root as `./`; the
 * first name of a hardlink group carries the content. The same tree gives the same bytes anywhere (docs/formats/archives.md).
 * `layer`: refuses names that a layer cannot say (Unsupported `LAYER_NAME`), because `.wh.` means a deletion there.
 */
export function* tarOfTree(context: TreeContext, tree: TreeId, kind: 'layer' | 'plain'): Generator<Buffer> {
  yield* batched(partsOfTree(context, tree, kind));
}

function* partsOfTree(context: TreeContext, tree: TreeId, kind: 'layer' | 'plain'): Generator<Buffer> {
  for (const { header, path, content } of membersOfTree(context, tree, kind)) {
    yield header;
    if (content === undefined) continue;
    yield* contentOf(context, path, content);
    yield tarPadding(content.size);
  }
  yield endOfArchive;
}

/** One member of a tree's tar. `header` is followed by the content of the file `content`, if there is one, and by its padding. `path` has no slash at its end; the root's is ''. */
export type TreeMember = { readonly header: Buffer; readonly path: ByteString; readonly content: FileEntry | undefined };

/** The members that `tarOfTree` writes, their content left to the caller; `endOfArchive` follows. A file without a byte has no content. */
export function* membersOfTree(context: TreeContext, tree: TreeId, kind: 'layer' | 'plain'): Generator<TreeMember> {
  const root = context.root(tree);
  const links = hardlinkTable(root.hardlinks);
  yield { header: encodeTarHeader(memberOf('./' as ByteString, root, 'directory')), path: none, content: undefined };
  const stack: { path: string; entries: readonly Entry[]; next: number }[] = [{ path: '', entries: context.node(root.full), next: 0 }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const entry = top.entries[top.next++];
    if (entry === undefined) {
      stack.pop();
      continue;
    }
    const path = (top.path + entry.name) as ByteString;
    if (kind === 'layer' && entry.name.startsWith(whiteoutPrefix)) throw unsayable(path);
    if (entry.type === EntryType.directory) {
      yield { header: encodeTarHeader(memberOf(`${path}/` as ByteString, entry, 'directory')), path, content: undefined };
      stack.push({ path: `${path}/`, entries: context.node(entry.full), next: 0 });
      continue;
    }
    const group = links.get(path);
    if (group?.first !== undefined) {
      yield {
        header: encodeTarHeader({ ...memberOf(path, entry, 'link'), linkTarget: group.first, xattrs: [] }),
        path,
        content: undefined,
      };
      continue;
    }
    if (group !== undefined) group.first = path;
    const content = entry.type === EntryType.file && entry.size > 0 ? entry : undefined;
    yield { header: encodeTarHeader(memberOfEntry(path, entry)), path, content };
  }
}

/** Each hardlinked path to its group; `first` is the name that was written already. */
function hardlinkTable(groups: readonly (readonly ByteString[])[]): Map<ByteString, { first: ByteString | undefined }> {
  const table = new Map<ByteString, { first: ByteString | undefined }>();
  for (const paths of groups) {
    const group = { first: undefined };
    for (const path of paths) table.set(path, group);
  }
  return table;
}

function memberOf(name: ByteString, meta: Meta, type: TarMember['type']): TarMember {
  const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs = [] } = meta;
  return { type, name, linkTarget: none, size: 0, mode, uid, gid, mtimeSec, mtimeNsec, major: 0, minor: 0, xattrs };
}

function memberOfEntry(path: ByteString, entry: Exclude<Entry, { type: typeof EntryType.directory }>): TarMember {
  switch (entry.type) {
    case EntryType.file:
      return { ...memberOf(path, entry, 'file'), size: entry.size };
    case EntryType.symlink:
      return { ...memberOf(path, entry, 'symlink'), linkTarget: entry.target };
    case EntryType.charDevice:
      return { ...memberOf(path, entry, 'charDevice'), major: entry.major, minor: entry.minor };
    case EntryType.blockDevice:
      return { ...memberOf(path, entry, 'blockDevice'), major: entry.major, minor: entry.minor };
    case EntryType.fifo:
      return memberOf(path, entry, 'fifo');
  }
}

/** The content of an object, in pieces that the caller may keep. DataLoss `OBJECT_DAMAGED` names the path. */
export function* contentOf(
  context: TreeContext,
  path: ByteString,
  entry: Pick<FileEntry, 'object' | 'size'>,
  pieceBytes = batchBytes * 4,
): Generator<Buffer> {
  const fd = openObject(context, path, entry);
  try {
    for (let position = 0; position < entry.size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(entry.size - position, pieceBytes));
      const count = readSync(fd, chunk, 0, chunk.length, position);
      if (count === 0) throw objectLost(path, entry, `has ${position} bytes instead of ${entry.size}`);
      yield count === chunk.length ? chunk : chunk.subarray(0, count);
      position += count;
    }
  } finally {
    closeSync(fd);
  }
}

/** Reads a part of an object into `target`, all of it. DataLoss `OBJECT_DAMAGED` names the path. */
export function readContent(
  context: TreeContext,
  path: ByteString,
  entry: Pick<FileEntry, 'object' | 'size'>,
  target: { buffer: Buffer; at: number; offset: number; length: number },
): void {
  const fd = openObject(context, path, entry);
  try {
    for (let done = 0; done < target.length; ) {
      const count = readSync(fd, target.buffer, target.at + done, target.length - done, target.offset + done);
      if (count === 0) throw objectLost(path, entry, `has ${target.offset + done} bytes instead of ${entry.size}`);
      done += count;
    }
  } finally {
    closeSync(fd);
  }
}

/** What the disk lost must not get into a layer. `found` is the SHA-256 of what was read. DataLoss `OBJECT_DAMAGED` names the path. */
export function checkContent(path: ByteString, entry: Pick<FileEntry, 'object'>, found: string): void {
  if (found !== entry.object) throw objectLost(path, entry, `has other bytes: their digest is ${found}`);
}

function openObject(context: TreeContext, path: ByteString, entry: Pick<FileEntry, 'object'>): number {
  try {
    return openSync(context.objectPath(entry.object), 'r');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw objectLost(path, entry, 'is missing', error);
    throw error;
  }
}

function objectLost(path: ByteString, entry: Pick<FileEntry, 'object'>, how: string, cause?: unknown): EngineError {
  return new EngineError('DataLoss', 'OBJECT_DAMAGED', `the content of "${toText(path)}" (object ${entry.object}) ${how}`, {
    hint: 'Build, load or pull the image again.',
    cause,
  });
}

export function unsayable(path: ByteString): EngineError {
  return new EngineError(
    'Unsupported',
    'LAYER_NAME',
    `"${toText(path)}" cannot be put into a layer: names that begin with ".wh." mean a deletion there`,
    {
      hint: 'Rename the file, or export the tree as a plain tar.',
    },
  );
}

/** Glues small parts together; passes large ones on as they are. Each chunk is new, so that it may be kept. */
function* batched(parts: Iterable<Buffer>): Generator<Buffer> {
  let batch = Buffer.allocUnsafeSlow(batchBytes);
  let filled = 0;
  for (const part of parts) {
    if (filled + part.length > batchBytes) {
      if (filled > 0) yield batch.subarray(0, filled);
      batch = Buffer.allocUnsafeSlow(batchBytes);
      filled = 0;
    }
    if (part.length > batchBytes) {
      yield part;
      continue;
    }
    part.copy(batch, filled);
    filled += part.length;
  }
  if (filled > 0) yield batch.subarray(0, filled);
}
