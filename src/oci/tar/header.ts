import type { ByteString } from '../../base/bytes.ts';
import { blockSize } from './member.ts';

/** Field positions of the ustar header (POSIX.1-2017, pax, "ustar Interchange Format"). */
export const field = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: 156,
  linkName: [157, 100],
  magic: [257, 8],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
  // GNU's old sparse layout in the place of the prefix (tar manual, "Storing Sparse Files").
  gnuSparse: 386,
  gnuIsExtended: 482,
  gnuRealSize: [483, 12],
  starTrailer: [508, 4],
} as const satisfies Record<string, number | readonly [start: number, length: number]>;

/** `v7` has neither prefix nor device numbers; `gnu` uses the prefix for other things; `star` has a shorter prefix. */
export type HeaderFormat = 'v7' | 'ustar' | 'gnu' | 'star';

export function formatOf(block: Buffer, start: number): HeaderFormat {
  const magic = block.toString('latin1', start + field.magic[0], start + field.magic[0] + field.magic[1]);
  if (magic === 'ustar  \0') return 'gnu';
  if (!magic.startsWith('ustar\0')) return 'v7';
  return block.toString('latin1', start + field.starTrailer[0], start + blockSize) === 'tar\0' ? 'star' : 'ustar';
}

/** The bytes up to the first NUL. */
export function readText(block: Buffer, start: number, length: number): ByteString {
  let end = start;
  const limit = start + length;
  while (end < limit && block[end] !== 0) end++;
  return block.toString('latin1', start, end) as ByteString;
}

/**
 * A number field: octal digits among spaces and NULs, or GNU's base-256 (first bit set; big-endian two's complement). Undefined when it is
 * neither, or beyond what a JavaScript number holds exactly.
 */
export function readNumber(block: Buffer, start: number, length: number): number | undefined {
  const first = block[start] ?? 0;
  if (first >= 0x80) return readBase256(block, start, length);
  let at = start;
  let end = start + length;
  while (at < end && isBlank(block[at])) at++;
  while (end > at && isBlank(block[end - 1])) end--;
  let value = 0;
  for (; at < end; at++) {
    const digit = (block[at] ?? 0) - 0x30;
    // GNU and libarchive end a number at the first NUL; some writers leave noise behind it.
    if (block[at] === 0) break;
    if (digit < 0 || digit > 7) return undefined;
    value = value * 8 + digit;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0;
}

function readBase256(block: Buffer, start: number, length: number): number | undefined {
  let value = BigInt((block[start] ?? 0) & 0x7f);
  for (let at = start + 1; at < start + length; at++) value = (value << 8n) | BigInt(block[at] ?? 0);
  const signed = Number(BigInt.asIntN(length * 8 - 1, value));
  return Number.isSafeInteger(signed) ? signed : undefined;
}

export function isZeroBlock(block: Buffer, start: number): boolean {
  for (let at = start; at < start + blockSize; at++) if (block[at] !== 0) return false;
  return true;
}

/** Whether the sum of all bytes, the checksum field read as spaces, is what the header says. Some old writers added bytes as signed. */
export function checksumAgrees(block: Buffer, start: number): boolean {
  const stored = readNumber(block, start + field.checksum[0], field.checksum[1]);
  if (stored === undefined) return false;
  const unsigned = headerSum(block, start);
  if (stored === unsigned) return true;
  let signed = unsigned;
  for (let at = start; at < start + blockSize; at++) {
    const inChecksum = at >= start + field.checksum[0] && at < start + field.checksum[0] + field.checksum[1];
    if (!inChecksum && (block[at] ?? 0) >= 0x80) signed -= 256;
  }
  return stored === signed;
}

export function headerSum(block: Buffer, start: number): number {
  let sum = 8 * 0x20;
  const checksum = start + field.checksum[0];
  for (let at = start; at < checksum; at++) sum += block[at] ?? 0;
  for (let at = checksum + field.checksum[1]; at < start + blockSize; at++) sum += block[at] ?? 0;
  return sum;
}
