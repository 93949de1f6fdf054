import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import { type DirectoryEntry, type Entry, EntryType, type FileEntry, type Meta, type Root, type TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { DirentList, direntsSize, dotPositions, writeDirents } from './dirents.ts';
import {
  blockBits,
  blockSize,
  encodeSuperblock,
  extendedInodeBytes,
  FileType,
  holeChunk,
  Layout,
  maxChunkBits,
  slotBytes,
  superblockBytes,
  superblockOffset,
  tooLarge,
} from './format.ts';
import { ImageBuffer } from './image-buffer.ts';
import {
  type EncodedXattr,
  encodeXattrs,
  metacopyXattr,
  opaqueXattr,
  redirectXattr,
  writeXattrs,
  xattrBytes,
  xattrsFit,
} from './xattrs.ts';

/** An image in memory: metadata blocks (superblock, inodes, short directories), then the blocks of long directories and symlinks. */
export type ErofsImage = {
  readonly meta: Buffer;
  readonly blocks: Buffer;
  readonly inodes: number;
  /** Files that a mount can be checked with, best first: small ones, in places that containers rarely change. */
  readonly canaries: readonly { path: ByteString; object: Hex }[];
};

/** A directory whose inode is placed and whose data is still to be written. */
type PlacedDirectory = {
  readonly entries: readonly Entry[];
  readonly path: string;
  readonly nid: number;
  readonly parentNid: number;
  readonly data: { readonly image: ImageBuffer; readonly position: number };
};

/**
 * The metadata of a tree as an EROFS image: directories, symlinks, devices and attributes are real, regular files are sizes with two
 * attributes that lead overlayfs to their object. A pure function of the tree. Throws Unsupported `EROFS_LIMIT` (attributes over 256 KiB
 * an inode, a value of 64 KiB, a device number over 12 + 20 bits).
 */
export function makeErofsImage(context: Pick<TreeContext, 'root' | 'node'>, tree: TreeId): ErofsImage {
  return new ImageWriter(context, context.root(tree)).write(tree);
}

class ImageWriter {
  readonly #context: Pick<TreeContext, 'node'>;
  readonly #root: Root;
  readonly #meta = new ImageBuffer(1 << 20);
  readonly #blocks = new ImageBuffer(1 << 16);
  /** Positions of the word in `#meta` that holds a block number relative to `#blocks`. */
  readonly #blockReferences: number[] = [];
  readonly #links: LinkTable;
  readonly #dirents = new DirentList();
  readonly #pending: PlacedDirectory[] = [];
  readonly #preferred: { path: ByteString; object: Hex }[] = [];
  readonly #others: { path: ByteString; object: Hex }[] = [];
  #inodes = 0;

  constructor(context: Pick<TreeContext, 'node'>, root: Root) {
    this.#context = context;
    this.#root = root;
    this.#links = new LinkTable(root.hardlinks);
    this.#meta.reserve(0, superblockOffset + superblockBytes);
  }

  write(tree: TreeId): ErofsImage {
    const rootNid = this.#placeDirectory(this.#root, '', undefined, [opaqueXattr]);
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) this.#fillDirectory(next);
    this.#meta.reserve(Math.ceil(this.#meta.length / blockSize) * blockSize, 0);
    const metaBlocks = this.#meta.length / blockSize;
    for (const position of this.#blockReferences) this.#meta.words[position >>> 2] = (this.#meta.words[position >>> 2] ?? 0) + metaBlocks;
    const blocks = metaBlocks + this.#blocks.length / blockSize;
    encodeSuperblock({ tree, rootNid, inodes: this.#inodes, blocks }).copy(this.#meta.bytes, superblockOffset);
    return {
      meta: this.#meta.bytes.subarray(0, this.#meta.length),
      blocks: this.#blocks.bytes.subarray(0, this.#blocks.length),
      inodes: this.#inodes,
      canaries: [...this.#preferred, ...this.#others],
    };
  }

  #fillDirectory(directory: PlacedDirectory): void {
    const { entries, nid, path } = directory;
    const { dot, dotDot } = dotPositions(entries);
    const links = this.#links.in(path);
    this.#dirents.clear();
    for (let i = 0; i <= entries.length; i++) {
      if (i === dot) this.#dirents.add('.', nid, FileType.directory);
      if (i === dotDot) this.#dirents.add('..', directory.parentNid, FileType.directory);
      const entry = entries[i];
      if (entry !== undefined) this.#dirents.add(entry.name, this.#placeEntry(entry, directory, links), fileTypes[entry.type]);
    }
    writeDirents(directory.data.image, directory.data.position, this.#dirents);
  }

  #placeEntry(entry: Entry, parent: PlacedDirectory, links: ReadonlyMap<string, LinkGroup> | undefined): number {
    const path = parent.path === '' ? entry.name : `${parent.path}/${entry.name}`;
    if (entry.type === EntryType.directory) return this.#placeDirectory(entry, path, parent.nid, []);
    const group = links?.get(entry.name);
    if (group === undefined) return this.#placeLeaf(entry, path, 1);
    group.nid ??= this.#placeLeaf(entry, path, group.nlink);
    return group.nid;
  }

  #placeDirectory(meta: Pick<DirectoryEntry, 'full'> & Meta, path: string, parentNid: number | undefined, extra: EncodedXattr[]): number {
    const entries = this.#context.node(meta.full);
    const size = direntsSize(entries);
    let nlink = 2;
    for (const entry of entries) if (entry.type === EntryType.directory) nlink++;
    const xattrs = this.#xattrsOf(meta, path, extra);
    const { position, data } = this.#placeWithData(directoryMode | meta.mode, meta, size, nlink, xattrs);
    const nid = position / slotBytes;
    this.#pending.push({ entries, path, nid, parentNid: parentNid ?? nid, data });
    return nid;
  }

  #placeLeaf(entry: Exclude<Entry, DirectoryEntry>, path: string, nlink: number): number {
    switch (entry.type) {
      case EntryType.file:
        return this.#placeFile(entry, path, nlink);
      case EntryType.symlink: {
        const xattrs = this.#xattrsOf(entry, path, []);
        const { position, data } = this.#placeWithData(symlinkMode | entry.mode, entry, entry.target.length, nlink, xattrs);
        data.image.writeName(entry.target, data.position);
        return position / slotBytes;
      }
      case EntryType.charDevice:
      case EntryType.blockDevice: {
        if (entry.major > 0xfff || entry.minor > 0xf_ffff) throw tooLarge('the device number', path);
        const type = entry.type === EntryType.charDevice ? charDeviceMode : blockDeviceMode;
        const device = ((entry.major << 8) | (entry.minor & 0xff) | ((entry.minor & ~0xff) << 12)) >>> 0;
        return this.#placeInode(Layout.plain, type | entry.mode, entry, 0, nlink, this.#xattrsOf(entry, path, []), device, 0) / slotBytes;
      }
      case EntryType.fifo:
        return this.#placeInode(Layout.plain, fifoMode | entry.mode, entry, 0, nlink, this.#xattrsOf(entry, path, []), 0, 0) / slotBytes;
    }
  }

  #placeFile(entry: FileEntry, path: string, nlink: number): number {
    const mode = regularMode | entry.mode;
    if (entry.size === 0) {
      return this.#placeInode(Layout.plain, mode, entry, 0, nlink, this.#xattrsOf(entry, path, []), 0, 0) / slotBytes;
    }
    // Not a hardlink: its content may change under another name, which a later look at the upper layer would miss.
    if (nlink === 1 && path.length <= 100 && entry.size <= 1 << 16) this.#considerCanary(path, entry.object);
    let chunkBits = blockBits;
    while (chunkBits < maxChunkBits && 2 ** chunkBits < entry.size) chunkBits++;
    const chunks = Math.ceil(entry.size / 2 ** chunkBits);
    if (entry.xattrs !== undefined && entry.xattrs.length > 0) {
      const object = `/${entry.object.slice(0, 2)}/${entry.object.slice(2)}`;
      const xattrs = this.#xattrsOf(entry, path, [metacopyXattr, redirectXattr(object)]);
      const position = this.#placeInode(Layout.chunked, mode, entry, entry.size, nlink, xattrs, chunkBits - blockBits, chunks * 4);
      this.#meta.words.fill(holeChunk, (this.#meta.length >>> 2) - chunks, this.#meta.length >>> 2);
      return position / slotBytes;
    }
    const position = this.#reserveInode(extendedInodeBytes + plainFileXattrs.length * 4 + chunks * 4);
    this.#writeInode(position, Layout.chunked, mode, entry, entry.size, nlink, plainFileXattrs.length * 4, chunkBits - blockBits);
    this.#writePlainFileXattrs(position + extendedInodeBytes, entry.object);
    this.#meta.words.fill(holeChunk, (this.#meta.length >>> 2) - chunks, this.#meta.length >>> 2);
    return position / slotBytes;
  }

  /** Nearly every file has the same two attributes, only the object differs: a template and one write. */
  #writePlainFileXattrs(position: number, object: Hex): void {
    const { words, bytes } = this.#meta;
    const start = position >>> 2;
    for (let i = 0; i < plainFileXattrs.length; i++) words[start + i] = plainFileXattrs[i] ?? 0;
    // The digest is written two bytes early, so that its first two digits can move over a slash: "/ab/cdef...".
    const value = position + plainFileObjectOffset;
    bytes.latin1Write(object, value + 2);
    bytes[value + 1] = bytes[value + 2] ?? 0;
    bytes[value + 2] = bytes[value + 3] ?? 0;
    bytes[value] = slash;
    bytes[value + 3] = slash;
  }

  /** An inode with bytes of its own: behind it when they are short and fit its block, else in blocks of their own. */
  #placeWithData(mode: number, meta: Meta, size: number, nlink: number, xattrs: readonly EncodedXattr[]): PlacedData {
    if (size <= maxInlineBytes) {
      const position = this.#placeInode(Layout.inline, mode, meta, size, nlink, xattrs, 0, size);
      return { position, data: { image: this.#meta, position: position + extendedInodeBytes + xattrBytes(xattrs) } };
    }
    const block = this.#blocks.length;
    this.#blocks.reserve(block, Math.ceil(size / blockSize) * blockSize);
    const position = this.#placeInode(Layout.plain, mode, meta, size, nlink, xattrs, block / blockSize, 0);
    this.#blockReferences.push(position + 16);
    return { position, data: { image: this.#blocks, position: block } };
  }

  #placeInode(
    layout: number,
    mode: number,
    meta: Meta,
    size: number,
    nlink: number,
    xattrs: readonly EncodedXattr[],
    union: number,
    tailBytes: number,
  ): number {
    const headBytes = extendedInodeBytes + xattrBytes(xattrs);
    const position = this.#reserveInode(headBytes + tailBytes, layout === Layout.inline ? headBytes : undefined);
    this.#writeInode(position, layout, mode, meta, size, nlink, headBytes - extendedInodeBytes, union);
    if (xattrs.length > 0) writeXattrs(this.#meta.bytes, position + extendedInodeBytes, xattrs);
    return position;
  }

  /** The position of the next inode. An inline tail (from `tailOffset` on) must not cross the end of a block: then it starts the next one. */
  #reserveInode(bytes: number, tailOffset?: number): number {
    let position = (this.#meta.length + slotBytes - 1) & ~(slotBytes - 1);
    if (tailOffset !== undefined) {
      const tail = position + tailOffset;
      const blockEnd = (Math.floor(tail / blockSize) + 1) * blockSize;
      if (position + bytes > blockEnd) position = Math.ceil((blockEnd - tailOffset) / slotBytes) * slotBytes;
    }
    this.#meta.reserve(position, bytes);
    return position;
  }

  /** struct erofs_inode_extended. */
  #writeInode(
    position: number,
    layout: number,
    mode: number,
    meta: Meta,
    size: number,
    nlink: number,
    xattrSize: number,
    union: number,
  ): void {
    const { words } = this.#meta;
    const word = position >>> 2;
    const xattrCount = xattrSize === 0 ? 0 : (xattrSize - 12) / 4 + 1;
    words[word] = (layout << 1) | 1 | (xattrCount << 16);
    words[word + 1] = mode;
    words[word + 2] = size >>> 0;
    words[word + 3] = Math.floor(size / 0x1_0000_0000);
    words[word + 4] = union;
    words[word + 5] = ++this.#inodes;
    words[word + 6] = meta.uid;
    words[word + 7] = meta.gid;
    words[word + 8] = meta.mtimeSec >>> 0;
    words[word + 9] = Math.floor(meta.mtimeSec / 0x1_0000_0000);
    words[word + 10] = meta.mtimeNsec;
    words[word + 11] = nlink;
  }

  #xattrsOf(meta: Meta, path: string, extra: EncodedXattr[]): EncodedXattr[] {
    if (meta.xattrs === undefined || meta.xattrs.length === 0) return extra;
    const xattrs = [...encodeXattrs(meta.xattrs), ...extra];
    if (!xattrsFit(xattrs)) throw tooLarge('an extended attribute', path);
    return xattrs;
  }

  #considerCanary(path: string, object: Hex): void {
    const list = /^(etc|var|tmp|run|root|home|dev|srv)\//.test(path) ? this.#others : this.#preferred;
    if (list.length < 8) list.push({ path: path as ByteString, object });
  }
}

type PlacedData = { position: number; data: { image: ImageBuffer; position: number } };

/** One inode under several names; `nid` once it is placed. */
type LinkGroup = { readonly nlink: number; nid: number | undefined };

/** The tree's hardlink groups by folder and name. */
class LinkTable {
  readonly #folders = new Map<string, Map<string, LinkGroup>>();

  constructor(hardlinks: readonly (readonly ByteString[])[]) {
    for (const paths of hardlinks) {
      const group: LinkGroup = { nlink: paths.length, nid: undefined };
      for (const path of paths) {
        const slashAt = path.lastIndexOf('/');
        const folder = slashAt === -1 ? '' : path.slice(0, slashAt);
        const names = this.#folders.get(folder) ?? new Map<string, LinkGroup>();
        this.#folders.set(folder, names.set(path.slice(slashAt + 1), group));
      }
    }
  }

  in(folder: string): ReadonlyMap<string, LinkGroup> | undefined {
    return this.#folders.size === 0 ? undefined : this.#folders.get(folder);
  }
}

const regularMode = 0o100000;
const directoryMode = 0o040000;
const symlinkMode = 0o120000;
const charDeviceMode = 0o020000;
const blockDeviceMode = 0o060000;
const fifoMode = 0o010000;

const fileTypes: Record<Entry['type'], number> = {
  [EntryType.file]: FileType.regular,
  [EntryType.directory]: FileType.directory,
  [EntryType.symlink]: FileType.symlink,
  [EntryType.charDevice]: FileType.charDevice,
  [EntryType.blockDevice]: FileType.blockDevice,
  [EntryType.fifo]: FileType.fifo,
};

/** Half a block: longer data behind an inode would waste more at the ends of blocks than a block of its own does. */
const maxInlineBytes = blockSize / 2;
const slash = 0x2f;

const plainFileTemplate = [metacopyXattr, redirectXattr('-'.repeat(66))];
const plainFileXattrs = (() => {
  const bytes = Buffer.from(new ArrayBuffer(xattrBytes(plainFileTemplate)));
  writeXattrs(bytes, 0, plainFileTemplate);
  return new Uint32Array(bytes.buffer);
})();
const plainFileObjectOffset = Buffer.from(plainFileXattrs.buffer).indexOf('-'.repeat(66));
