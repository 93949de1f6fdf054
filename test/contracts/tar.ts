import { Buffer } from 'node:buffer';
import type { ByteString } from '../../src/base/bytes.ts';
import type { TarMember } from '../../src/oci/tar/member.ts';
import { type MetTarMember, TarReader } from '../../src/oci/tar/reader.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../src/oci/tar/writer.ts';

export type ReadMember = { member: MetTarMember; content: Buffer };

/** Reads a small tar whole, pushed in chunks of `chunkBytes`; holes read as zeros. */
export function readTar(tar: Uint8Array, options: { chunkBytes?: number; requireEnd?: boolean } = {}): ReadMember[] {
  const read: ReadMember[] = [];
  const reader = new TarReader(
    (member) => {
      if (member.type !== 'file') {
        read.push({ member, content: Buffer.alloc(0) });
        return undefined;
      }
      const content = Buffer.alloc(Math.min(member.size, 64 * 1024 * 1024));
      return {
        write: (chunk, position) => void chunk.copy(content, position),
        finish: () => void read.push({ member, content }),
      };
    },
    { what: 'test.tar', requireEnd: options.requireEnd ?? true },
  );
  const chunkBytes = options.chunkBytes ?? tar.length;
  for (let at = 0; at < tar.length; at += chunkBytes) reader.push(tar.subarray(at, at + chunkBytes));
  reader.end();
  return read;
}

/** Writes members with their content, and the end marker. */
export function writeTar(members: readonly { member: TarMember; content?: Uint8Array }[], options: { end?: boolean } = {}): Buffer {
  const parts = members.flatMap(({ member, content = Buffer.alloc(0) }) => [encodeTarHeader(member), content, tarPadding(content.length)]);
  return Buffer.concat(options.end === false ? parts : [...parts, endOfArchive]);
}

/** A member with plain defaults. */
export function tarMember(name: string, over: Partial<TarMember> = {}): TarMember {
  return {
    type: 'file',
    name: name as ByteString,
    linkTarget: '' as ByteString,
    size: 0,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeSec: 1_700_000_000,
    mtimeNsec: 0,
    major: 0,
    minor: 0,
    xattrs: [],
    ...over,
  };
}

/** A regular file with text in it. */
export function tarFile(name: string, text: string | Uint8Array, over: Partial<TarMember> = {}): { member: TarMember; content: Buffer } {
  const content = Buffer.from(text);
  return { member: tarMember(name, { size: content.length, ...over }), content };
}
