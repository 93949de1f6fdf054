import { createHash } from 'node:crypto';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';

/**
 * EROFS on-disk numbers (kernel, fs/erofs/erofs_fs.h), as far as a metadata-only image needs them. See docs/formats/erofs.md.
 */
export const blockBits = 12;
export const blockSize = 1 << blockBits;
/** An inode number (nid) is its byte offset divided by this. */
export const slotBytes = 32;
export const superblockOffset = 1024;
export const superblockBytes = 128;
export const extendedInodeBytes = 64;
export const xattrHeaderBytes = 12;
export const direntBytes = 12;

export const Layout = { plain: 0, inline: 2, chunked: 4 } as const;
export const FileType = { regular: 1, directory: 2, charDevice: 3, blockDevice: 4, fifo: 5, symlink: 7 } as const;

/** EROFS_CHUNK_FORMAT_BLKBITS_MASK: five bits, so a chunk is at most 2^(12 + 31) bytes. A file beyond that has several. */
export const maxChunkBits = blockBits + 31;
/** EROFS_NULL_ADDR: a chunk that has no data. */
export const holeChunk = 0xffff_ffff;

/**
 * The writer's own version. The same tree and version give the same bytes, and an upper layer with an index holds on to inode numbers
 * (see docs/adr/0011): any change to where an inode lies needs a new number.
 */
export const writerVersion = 1;

const magic = 0xe0f5e1e2;
const compatMtime = 2;
const compatXattrFilter = 4;
const incompatChunkedFile = 4;

/** What a projection says of itself: enough to mount and to check it without the tree. */
export type ProjectionInfo = {
  readonly version: number;
  readonly tree: TreeId;
  /** The tree has hardlink groups: the overlay must keep an index. */
  readonly hardlinks: boolean;
  /** A file to read back after mounting. The path is a ByteString. Absent when the tree has no suitable one. */
  readonly canary?: { readonly path: string; readonly object: Hex } | undefined;
};

/** The first KiB of an image is free for other uses in EROFS; ours holds the projection's description. */
export function encodeInfo(info: ProjectionInfo): Buffer {
  const buffer = Buffer.alloc(superblockOffset);
  if (buffer.write(`${infoMagic}${JSON.stringify(info)}`, 'latin1') >= superblockOffset)
    throw new RangeError('projection info is too long');
  return buffer;
}
const infoMagic = 'slipway-erofs\n';

/** Undefined when the bytes are not the start of an image that a known version of the writer made for `tree`. */
export function decodeInfo(start: Buffer, tree: TreeId): ProjectionInfo | undefined {
  const text = start.toString('latin1', 0, Math.max(0, start.indexOf(0)));
  if (!text.startsWith(infoMagic)) return undefined;
  try {
    const info = JSON.parse(text.slice(infoMagic.length)) as ProjectionInfo;
    return info.version === writerVersion && info.tree === tree ? info : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** The image's UUID: overlayfs recognises a lower layer by it, so it is the tree's and the writer's, not random. */
function imageUuid(tree: TreeId): Buffer {
  const uuid = createHash('sha256').update(`slipway erofs ${writerVersion} ${tree}`).digest().subarray(0, 16);
  uuid.writeUInt8((uuid.readUInt8(6) & 0x0f) | 0x80, 6); // version 8: made by rules of our own (RFC 9562, section 5.8)
  uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid;
}

export function encodeSuperblock(fields: { tree: TreeId; rootNid: number; inodes: number; blocks: number }): Buffer {
  const buffer = Buffer.alloc(superblockBytes);
  buffer.writeUInt32LE(magic, 0);
  buffer.writeUInt32LE(compatMtime | compatXattrFilter, 8);
  buffer.writeUInt8(blockBits, 12);
  buffer.writeUInt16LE(fields.rootNid, 14);
  buffer.writeBigUInt64LE(BigInt(fields.inodes), 16);
  buffer.writeUInt32LE(fields.blocks, 36);
  imageUuid(fields.tree).copy(buffer, 48);
  buffer.write('slipway', 64, 'latin1');
  buffer.writeUInt32LE(incompatChunkedFile, 80);
  return buffer;
}

/** The size in bytes that a whole image must have; undefined when `start` (its first two KiB) holds no superblock. */
export function imageSize(start: Buffer): number | undefined {
  if (start.length < superblockOffset + superblockBytes || start.readUInt32LE(superblockOffset) !== magic) return undefined;
  return start.readUInt32LE(superblockOffset + 36) * blockSize;
}

export function tooLarge(what: string, path: string): EngineError {
  return new EngineError('Unsupported', 'EROFS_LIMIT', `${what} of /${path} is beyond what an EROFS image holds`, {
    hint: 'Use the hardlink-overlay snapshotter for this image.',
  });
}
