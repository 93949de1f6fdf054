import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { type ByteString, fromBuffer, toPathBuffer } from '../../base/bytes.ts';
import type { Xattr } from '../../store/model.ts';
import { Packet_PacketType as PacketType } from '../gen/fsutil_pb.ts';
import { malformed } from '../grpc/frames.ts';

export { PacketType };

/**
 * What a stat says of one path (fsutil types/stat.proto). Read and written field by field and not through the generated types: a context has 100,000
 * of them, and names are bytes, which a proto `string` read as text would not keep.
 */
export type FileStat = {
  path: ByteString;
  /** Go's io/fs FileMode. */
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtimeSec: number;
  mtimeNsec: number;
  linkname: ByteString;
  devmajor: number;
  devminor: number;
  xattrs: Xattr[];
};

export type Packet = { type: PacketType; stat: FileStat | undefined; id: number; data: Uint8Array };

const none = new Uint8Array();
const plainText = (bytes: Uint8Array) => fromBuffer(bytes);

export function readPacket(message: Uint8Array): Packet {
  const packet: Packet = { type: PacketType.PACKET_STAT, stat: undefined, id: 0, data: none };
  try {
    const reader = new BinaryReader(message, plainText);
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag();
      if (field === 1 && wire === 0) packet.type = reader.int32() as PacketType;
      else if (field === 2 && wire === 2) packet.stat = readStat(reader.bytes());
      else if (field === 3 && wire === 0) packet.id = reader.uint32();
      else if (field === 4 && wire === 2) packet.data = reader.bytes();
      else reader.skip(wire, field);
    }
  } catch (error) {
    throw malformed(`a packet cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  return packet;
}

/** By hand: most of what comes are these, and a reader with 64-bit integers takes three times as long. */
function readStat(bytes: Uint8Array): FileStat {
  const stat = emptyStat();
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const cursor: Cursor = { buffer, at: 0, low: 0, high: 0 };
  while (cursor.at < buffer.length) {
    const tag = varint(cursor);
    const field = tag >>> 3;
    const wire = tag & 7;
    if (wire === 0) {
      varint(cursor);
      if (field === 2) stat.mode = cursor.low;
      else if (field === 3) stat.uid = cursor.low;
      else if (field === 4) stat.gid = cursor.low;
      else if (field === 5) stat.size = signed(cursor);
      else if (field === 6) setTime(stat, cursor);
      else if (field === 8) stat.devmajor = signed(cursor);
      else if (field === 9) stat.devminor = signed(cursor);
    } else if (wire === 2) {
      const length = varint(cursor);
      const end = cursor.at + length;
      if (end > buffer.length) throw new RangeError('a field is longer than its message');
      if (field === 1) stat.path = buffer.toString('latin1', cursor.at, end) as ByteString;
      else if (field === 7) stat.linkname = buffer.toString('latin1', cursor.at, end) as ByteString;
      else if (field === 10) stat.xattrs.push(readXattr(buffer.subarray(cursor.at, end)));
      cursor.at = end;
    } else if (wire === 1 || wire === 5) cursor.at += wire === 1 ? 8 : 4;
    else throw new RangeError(`a field of wire type ${wire}`);
  }
  if (cursor.at > buffer.length) throw new RangeError('a field is longer than its message');
  return stat;
}

/** The last varint read, as two halves of 32 bits. */
type Cursor = { readonly buffer: Buffer; at: number; low: number; high: number };

/** Gives its low 32 bits, without sign. */
function varint(cursor: Cursor): number {
  const { buffer } = cursor;
  let low = 0;
  let high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (cursor.at >= buffer.length) throw new RangeError('a number is cut');
    const byte = buffer[cursor.at++] as number;
    const bits = byte & 0x7f;
    if (shift < 28) low |= bits << shift;
    else if (shift === 28) {
      low |= bits << 28;
      high = bits >>> 4;
    } else high |= bits << (shift - 32);
    if (byte < 0x80) {
      cursor.low = low >>> 0;
      cursor.high = high >>> 0;
      return cursor.low;
    }
  }
  throw new RangeError('a number has more than 64 bits');
}

const half = 0x1_0000_0000;

/** An int64. Beyond 2^53 it is not exact, and nothing takes it. */
function signed({ low, high }: Cursor): number {
  return (high | 0) * half + low;
}

function readXattr(bytes: Uint8Array): Xattr {
  let name = '' as ByteString;
  let value = '' as ByteString;
  const reader = new BinaryReader(bytes, plainText);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (field === 1 && wire === 2) name = reader.string() as ByteString;
    else if (field === 2 && wire === 2) value = fromBuffer(reader.bytes());
    else reader.skip(wire, field);
  }
  return [name, value];
}

const nsecPerSec = 1_000_000_000;

/** Nanoseconds since 1970, in 64 bits: a long division in digits of 16 bits, each step of which a number holds exactly. */
function setTime(stat: FileStat, { low, high }: Cursor): void {
  if (high >= 0x8000_0000) {
    const all = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
    const billion = BigInt(nsecPerSec);
    const nanoseconds = ((all % billion) + billion) % billion;
    stat.mtimeSec = Number((all - nanoseconds) / billion);
    stat.mtimeNsec = Number(nanoseconds);
    return;
  }
  let seconds = 0;
  let rest = 0;
  for (const digit of [high >>> 16, high & 0xffff, low >>> 16, low & 0xffff]) {
    const part = rest * 0x1_0000 + digit;
    const quotient = Math.floor(part / nsecPerSec);
    seconds = seconds * 0x1_0000 + quotient;
    rest = part - quotient * nsecPerSec;
  }
  stat.mtimeSec = seconds;
  stat.mtimeNsec = rest;
}

export function emptyStat(): FileStat {
  const no = '' as ByteString;
  return { path: no, mode: 0, uid: 0, gid: 0, size: 0, mtimeSec: 0, mtimeNsec: 0, linkname: no, devmajor: 0, devminor: 0, xattrs: [] };
}

export function writePacket(packet: { type: PacketType; stat?: FileStat | undefined; id?: number; data?: Uint8Array }): Uint8Array {
  const writer = new BinaryWriter();
  if (packet.type !== PacketType.PACKET_STAT) writer.tag(1, 0).int32(packet.type);
  if (packet.stat !== undefined) writer.tag(2, 2).bytes(writeStat(packet.stat));
  if (packet.id !== undefined && packet.id !== 0) writer.tag(3, 0).uint32(packet.id);
  if (packet.data !== undefined && packet.data.length > 0) writer.tag(4, 2).bytes(packet.data);
  return writer.finish();
}

function writeStat(stat: FileStat): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, 2).bytes(toPathBuffer(stat.path));
  if (stat.mode !== 0) writer.tag(2, 0).uint32(stat.mode);
  if (stat.uid !== 0) writer.tag(3, 0).uint32(stat.uid);
  if (stat.gid !== 0) writer.tag(4, 0).uint32(stat.gid);
  if (stat.size !== 0) writer.tag(5, 0).int64(BigInt(stat.size));
  const time = BigInt(stat.mtimeSec) * BigInt(nsecPerSec) + BigInt(stat.mtimeNsec);
  if (time !== 0n) writer.tag(6, 0).int64(BigInt.asIntN(64, time));
  if (stat.linkname !== '') writer.tag(7, 2).bytes(toPathBuffer(stat.linkname));
  if (stat.devmajor !== 0) writer.tag(8, 0).int64(BigInt(stat.devmajor));
  if (stat.devminor !== 0) writer.tag(9, 0).int64(BigInt(stat.devminor));
  for (const [name, value] of stat.xattrs) {
    const pair = new BinaryWriter();
    pair.tag(1, 2).bytes(toPathBuffer(name)).tag(2, 2).bytes(toPathBuffer(value));
    writer.tag(10, 2).bytes(pair.finish());
  }
  return writer.finish();
}
