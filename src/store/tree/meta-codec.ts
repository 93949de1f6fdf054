import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Meta, Xattr } from '../model.ts';
import type { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';

/** Added to an entry's tag and a root's flags when extended attributes follow. */
export const hasXattrs = 0x10;

export const limits = {
  entries: 10_000_000,
  id: 0xffff_fffe,
  sizeBytes: Number.MAX_SAFE_INTEGER,
  /** Seconds either side of 1970: four million years, and exact as a double. */
  seconds: 2 ** 47,
  xattrs: 10_000,
  xattrValueBytes: 65_536,
  linkBytes: 4095,
  device: 0xffff_ffff,
  hardlinkGroups: 10_000_000,
} as const;

export type Mutable<T> = T extends unknown ? { -readonly [K in keyof T]: T[K] } : never;

export function writeMeta(writer: ByteWriter, meta: Meta, name: string): void {
  writer.varint(checkNumber(meta.mode, 0o7777, name, 'mode'));
  writer.varint(checkNumber(meta.uid, limits.id, name, 'uid'));
  writer.varint(checkNumber(meta.gid, limits.id, name, 'gid'));
  if (meta.xattrs !== undefined && meta.xattrs.length > 0) writeXattrs(writer, meta.xattrs, name);
}

function writeXattrs(writer: ByteWriter, xattrs: readonly Xattr[], of: string): void {
  if (xattrs.length > limits.xattrs) invalid(of, `it has ${xattrs.length} extended attributes`);
  writer.varint(xattrs.length);
  let previous = '';
  for (const [name, value] of xattrs) {
    if (name <= previous) invalid(of, 'its extended attributes are not sorted by name');
    if (name.length > 255 || name.includes('\0')) invalid(of, 'an extended attribute has an invalid name');
    if (value.length > limits.xattrValueBytes) invalid(of, `its extended attribute ${name} has ${value.length} bytes`);
    writer.bytes(name);
    writer.bytes(value);
    previous = name;
  }
}

export function writeTime(writer: ByteWriter, meta: Meta): void {
  if (!Number.isSafeInteger(meta.mtimeSec) || Math.abs(meta.mtimeSec) > limits.seconds) invalid('', `a time is ${meta.mtimeSec} seconds`);
  writer.signedVarint(meta.mtimeSec);
  writer.varint(checkNumber(meta.mtimeNsec, 999_999_999, '', 'nanoseconds'));
}

export function checkNumber(value: number, limit: number, name: string, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value > limit) invalid(name, `its ${what} is ${value}`);
  return value;
}

export function invalid(name: string, problem: string): never {
  throw new EngineError(
    'InvalidArgument',
    'ENTRY_INVALID',
    `"${toText(name.slice(0, 300) as ByteString)}" cannot be kept in a tree: ${problem}`,
  );
}

export function readMeta(reader: ByteReader, withXattrs: boolean) {
  const mode = reader.varint(0o7777, 'a mode');
  const uid = reader.varint(limits.id, 'a uid');
  const gid = reader.varint(limits.id, 'a gid');
  return { mode, uid, gid, xattrs: withXattrs ? readXattrs(reader) : undefined };
}

function readXattrs(reader: ByteReader): Xattr[] {
  const count = reader.varint(limits.xattrs, 'the number of extended attributes');
  if (count === 0) reader.fail('an empty list of extended attributes is written out');
  const xattrs: Xattr[] = [];
  let previous = '';
  for (let i = 0; i < count; i++) {
    const name = reader.bytes(255, "an extended attribute's name");
    if (name <= previous || name.includes('\0')) reader.fail('extended attributes are not in order');
    xattrs.push([name, reader.bytes(limits.xattrValueBytes, "an extended attribute's value")]);
    previous = name;
  }
  return xattrs;
}

export function readTime(reader: ByteReader, into: Mutable<Meta>): void {
  into.mtimeSec = reader.signedVarint(limits.seconds, 'a time');
  into.mtimeNsec = reader.varint(999_999_999, 'nanoseconds');
}
