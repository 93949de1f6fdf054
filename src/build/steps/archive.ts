import { constants, gunzipSync, zstdDecompressSync } from 'node:zlib';

/** How much of a file's head `looksLikeArchive` wants. */
export const archiveHeadBytes = 64 * 1024;

const tarBlock = 512;
const magics = {
  gzip: Buffer.from([0x1f, 0x8b, 0x08]),
  zstd: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]),
  bzip2: Buffer.from('BZh'),
  xz: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
};

/**
 * Whether ADD extracts a file: a tar, plain or compressed, told by its bytes and not by its name. A compressed file that is no tar stays a file. What
 * bzip2 and xz hold is not looked into: Node reads neither, and such files in a build are nearly always archives.
 */
export function looksLikeArchive(head: Buffer): boolean {
  const starts = (magic: Buffer) => head.subarray(0, magic.length).equals(magic);
  if (starts(magics.gzip)) return isTarHeader(firstBlock(() => gunzipSync(head, { finishFlush: constants.Z_SYNC_FLUSH })));
  if (starts(magics.zstd)) return isTarHeader(firstBlock(() => zstdDecompressSync(head, { finishFlush: constants.ZSTD_e_flush })));
  if (starts(magics.xz) || starts(magics.bzip2)) return true;
  return isTarHeader(head.subarray(0, tarBlock));
}

function firstBlock(decompress: () => Buffer): Buffer {
  try {
    return decompress().subarray(0, tarBlock);
  } catch {
    // Damaged, or not what its first bytes promise: then it is an ordinary file.
    return Buffer.alloc(0);
  }
}

/** The header's checksum (POSIX ustar, "chksum") tells a tar of any age from other data. */
function isTarHeader(block: Buffer): boolean {
  if (block.length < tarBlock || block[0] === 0) return false;
  const written = Number.parseInt(
    block
      .toString('latin1', 148, 156)
      .replace(/[\0 ]+$/, '')
      .trim(),
    8,
  );
  let sum = 0;
  for (let at = 0; at < tarBlock; at++) sum += at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
  return written === sum;
}
