import type { Xattr } from '../../store/model.ts';
import { xattrHeaderBytes } from './format.ts';

/** An attribute as EROFS writes it: the prefix as a number, the rest of the name, the value. */
export type EncodedXattr = { readonly index: number; readonly name: string; readonly value: string };

const userPrefix = 1;
const aclAccess = 2;
const aclDefault = 3;
const trustedPrefix = 4;
const securityPrefix = 6;

export const metacopyXattr: EncodedXattr = { index: trustedPrefix, name: 'overlay.metacopy', value: '' };
export const opaqueXattr: EncodedXattr = { index: trustedPrefix, name: 'overlay.opaque', value: 'y' };
/** `value` is the object's path in the data-only layer. */
export const redirectXattr = (value: string): EncodedXattr => ({ index: trustedPrefix, name: 'overlay.redirect', value });

/**
 * A tree's attributes for an overlay's lower layer. An image's own `trusted.overlay.*` would steer our overlay, so it is escaped as
 * the kernel does for nested overlays (Linux 6.7, Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts"). Name spaces that
 * EROFS has no number for (`system.nfs4_acl`) exist on no local file system and are left out.
 */
export function encodeXattrs(xattrs: readonly Xattr[]): EncodedXattr[] {
  const encoded: EncodedXattr[] = [];
  for (const [name, value] of xattrs) {
    if (name.startsWith('user.')) encoded.push({ index: userPrefix, name: name.slice(5), value });
    else if (name.startsWith('trusted.overlay.')) encoded.push({ index: trustedPrefix, name: `overlay.${name.slice(8)}`, value });
    else if (name.startsWith('trusted.')) encoded.push({ index: trustedPrefix, name: name.slice(8), value });
    else if (name.startsWith('security.')) encoded.push({ index: securityPrefix, name: name.slice(9), value });
    else if (name === 'system.posix_acl_access') encoded.push({ index: aclAccess, name: '', value });
    else if (name === 'system.posix_acl_default') encoded.push({ index: aclDefault, name: '', value });
  }
  return encoded;
}

/** Of the header and all entries: 0 when there is none. Always a multiple of 4. */
export function xattrBytes(xattrs: readonly EncodedXattr[]): number {
  if (xattrs.length === 0) return 0;
  let size = xattrHeaderBytes;
  for (const { name, value } of xattrs) size += (4 + name.length + value.length + 3) & ~3;
  return size;
}

/** Whether lengths fit their fields: one byte for a name, two for a value, two for the number of words. */
export function xattrsFit(xattrs: readonly EncodedXattr[]): boolean {
  return xattrBytes(xattrs) <= 0xffff * 4 && xattrs.every(({ name, value }) => name.length <= 255 && value.length <= 0xffff);
}

/** Writes header and entries at `start`; returns the end. The buffer is zero there. */
export function writeXattrs(buffer: Buffer, start: number, xattrs: readonly EncodedXattr[]): number {
  buffer.writeUInt32LE(nameFilter(xattrs), start);
  let position = start + xattrHeaderBytes;
  for (const { index, name, value } of xattrs) {
    buffer.writeUInt8(name.length, position);
    buffer.writeUInt8(index, position + 1);
    buffer.writeUInt16LE(value.length, position + 2);
    buffer.write(name, position + 4, 'latin1');
    buffer.write(value, position + 4 + name.length, 'latin1');
    position += (4 + name.length + value.length + 3) & ~3;
  }
  return position;
}

const filterSeed = 0x25bb_e08f;

/**
 * The Bloom filter in an inode's xattr header (Linux 6.6): a set bit says "no name with this hash". Overlayfs asks every file for several
 * attributes that it does not have; with the filter the answer needs no search.
 */
function nameFilter(xattrs: readonly EncodedXattr[]): number {
  let present = 0;
  for (const { index, name } of xattrs) present |= 1 << (xxh32(name, filterSeed + index) & 31);
  return ~present >>> 0;
}

const [prime1, prime2, prime3, prime4, prime5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1] as const;
const rotate = (value: number, bits: number) => (value << bits) | (value >>> (32 - bits));
const round = (lane: number, input: number) => Math.imul(rotate((lane + Math.imul(input, prime2)) | 0, 13), prime1);

/** XXH32 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md) of a string of bytes. */
export function xxh32(text: string, seed: number): number {
  const word = (at: number) =>
    text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8) | (text.charCodeAt(at + 2) << 16) | (text.charCodeAt(at + 3) << 24);
  let position = 0;
  let hash = (seed + prime5) | 0;
  if (text.length >= 16) {
    let [a, b, c, d] = [(seed + prime1 + prime2) | 0, (seed + prime2) | 0, seed | 0, (seed - prime1) | 0];
    for (; position + 16 <= text.length; position += 16) {
      a = round(a, word(position));
      b = round(b, word(position + 4));
      c = round(c, word(position + 8));
      d = round(d, word(position + 12));
    }
    hash = (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) | 0;
  }
  hash = (hash + text.length) | 0;
  for (; position + 4 <= text.length; position += 4) {
    hash = Math.imul(rotate((hash + Math.imul(word(position), prime3)) | 0, 17), prime4);
  }
  for (; position < text.length; position++) {
    hash = Math.imul(rotate((hash + Math.imul(text.charCodeAt(position), prime5)) | 0, 11), prime1);
  }
  hash = Math.imul(hash ^ (hash >>> 15), prime2);
  hash = Math.imul(hash ^ (hash >>> 13), prime3);
  return (hash ^ (hash >>> 16)) >>> 0;
}
