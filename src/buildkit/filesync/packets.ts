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

function readStat(bytes: Uint8Array): FileStat {
  const stat = emptyStat();
  const reader = new BinaryReader(bytes, plainText);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    if (wire === 2 && field === 1) stat.path = reader.string() as ByteString;
    else if (wire === 2 && field === 7) stat.linkname = reader.string() as ByteString;
    else if (wire === 2 && field === 10) stat.xattrs.push(readXattr(reader.bytes()));
    else if (wire !== 0) reader.skip(wire, field);
    else if (field === 2) stat.mode = reader.uint32();
    else if (field === 3) stat.uid = reader.uint32();
    else if (field === 4) stat.gid = reader.uint32();
    else if (field === 5) stat.size = Number(reader.int64());
    else if (field === 6) setTime(stat, BigInt(reader.int64()));
    else if (field === 8) stat.devmajor = Number(reader.int64());
    else if (field === 9) stat.devminor = Number(reader.int64());
    else reader.skip(wire, field);
  }
  return stat;
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

const nsecPerSec = 1_000_000_000n;

function setTime(stat: FileStat, nanoseconds: bigint): void {
  const rest = ((nanoseconds % nsecPerSec) + nsecPerSec) % nsecPerSec;
  stat.mtimeSec = Number((nanoseconds - rest) / nsecPerSec);
  stat.mtimeNsec = Number(rest);
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
  const time = BigInt(stat.mtimeSec) * nsecPerSec + BigInt(stat.mtimeNsec);
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
