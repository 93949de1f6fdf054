import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { isDirectory, joinPath } from '../../store/tree/entries.ts';
import { FrameReader, frame, malformed } from '../grpc/frames.ts';
import { goMode } from './mode.ts';
import { emptyStat, type FileStat, PacketType, readPacket, writePacket } from './packets.ts';

export type SendParams = {
  /** Descriptors of pipes with the two directions of the stream: what the client sends, and what is sent to it. The caller closes them. */
  readonly input: number;
  readonly output: number;
  readonly tree: TreeId;
  /** Puts everything into a directory of this name (`linux_amd64`), where a build has several results. */
  readonly under?: string | undefined;
};
export type SendResult = { files: number; sentBytes: number };
export type SendProgress = { sentBytes: number };

const pieceBytes = 32 * 1024;
const flushBytes = 128 * 1024;

/** Job `buildkit.send`: the sending side of fsutil's protocol. The client asks for what it wants; it writes all of it below its folder. */
export function sendFiles(context: TreeContext, params: SendParams): SendResult {
  const { input, output } = params;
  const sender = new Sender(context, output);
  sender.stats(params.tree, params.under);
  const frames = new FrameReader((message) => sender.take(message));
  const buffer = Buffer.allocUnsafe(64 * 1024);
  while (!sender.finished) {
    const length = readSync(input, buffer);
    if (length === 0) throw new EngineError('Unavailable', 'SESSION_LOST', 'the client stopped taking the files');
    frames.push(buffer.subarray(0, length));
    sender.flush();
  }
  return { files: sender.files, sentBytes: sender.sentBytes };
}

class Sender {
  readonly #context: TreeContext;
  readonly #output: number;
  readonly #objects = new Map<number, Hex>();
  #nextId = 0;
  #out: Buffer[] = [];
  #outBytes = 0;
  #reportedBytes = 0;
  finished = false;
  files = 0;
  sentBytes = 0;

  constructor(context: TreeContext, output: number) {
    this.#context = context;
    this.#output = output;
  }

  stats(tree: TreeId, under: string | undefined): void {
    const root = this.#context.root(tree);
    const first = new Map<string, ByteString>();
    for (const [leader, ...others] of root.hardlinks) for (const other of others) first.set(other, leader as ByteString);
    const prefix = (under ?? '') as ByteString;
    if (under !== undefined)
      this.#stat({ ...emptyStat(), ...root, path: prefix, mode: goMode(EntryType.directory, root.mode), xattrs: [] });
    this.#walk(root.full, '' as ByteString, prefix, first);
    this.#send({ type: PacketType.PACKET_STAT });
    this.flush();
  }

  take(message: Uint8Array): void {
    const packet = readPacket(message);
    if (packet.type === PacketType.PACKET_REQ) this.#content(packet.id);
    else if (packet.type === PacketType.PACKET_FIN) {
      this.#send({ type: PacketType.PACKET_FIN });
      this.finished = true;
    } else if (packet.type === PacketType.PACKET_ERR) {
      const why = Buffer.from(packet.data).toString('utf8').slice(0, 2000);
      throw new EngineError('InvalidArgument', 'EXPORT_REFUSED', `the client cannot write the files: ${why}`);
    } else throw malformed(`a packet of type ${packet.type}`);
  }

  flush(): void {
    if (this.#out.length === 0) return;
    const bytes = Buffer.concat(this.#out, this.#outBytes);
    this.#out = [];
    this.#outBytes = 0;
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#output, bytes, at);
    if (this.sentBytes - this.#reportedBytes < 1024 * 1024) return;
    this.#reportedBytes = this.sentBytes;
    this.#context.report({ sentBytes: this.sentBytes } satisfies SendProgress);
  }

  /** In the order of names, a directory before what is in it, as the receiver demands. */
  #walk(full: Hex, path: ByteString, prefix: ByteString, first: ReadonlyMap<string, ByteString>): void {
    for (const entry of this.#context.node(full)) {
      const at = joinPath(path, entry.name);
      const leader = first.get(at);
      const stat = statOf(entry, joinPath(prefix, at));
      if (leader !== undefined && entry.type !== EntryType.symlink) stat.linkname = joinPath(prefix, leader);
      const id = this.#stat(stat);
      if (entry.type === EntryType.file) {
        this.files++;
        this.#objects.set(id, entry.object);
      }
      if (isDirectory(entry)) this.#walk(entry.full, at, prefix, first);
    }
  }

  #stat(stat: FileStat): number {
    this.#send({ type: PacketType.PACKET_STAT, stat });
    return this.#nextId++;
  }

  #content(id: number): void {
    const object = this.#objects.get(id);
    if (object === undefined) throw malformed(`file ${id} is asked for, which is none or was sent`);
    // Each once, as fsutil's own sender has it: nobody can ask for more than there is.
    this.#objects.delete(id);
    const file = openSync(this.#context.objectPath(object), 'r');
    try {
      const piece = Buffer.allocUnsafe(pieceBytes);
      for (let length = readSync(file, piece); length > 0; length = readSync(file, piece)) {
        this.#send({ type: PacketType.PACKET_DATA, id, data: piece.subarray(0, length) });
        this.sentBytes += length;
      }
    } finally {
      closeSync(file);
    }
    this.#send({ type: PacketType.PACKET_DATA, id });
  }

  #send(packet: Parameters<typeof writePacket>[0]): void {
    const framed = frame(writePacket(packet));
    this.#out.push(framed);
    this.#outBytes += framed.length;
    if (this.#outBytes > flushBytes) this.flush();
  }
}

function statOf(entry: Entry, path: ByteString): FileStat {
  if (path.length > 4096)
    throw new EngineError('Unsupported', 'EXPORT_PATH_TOO_LONG', `the path ${toText(path).slice(0, 100)}… is too long to send`);
  return {
    path,
    mode: goMode(entry.type, entry.mode),
    uid: entry.uid,
    gid: entry.gid,
    size: entry.type === EntryType.file ? entry.size : 0,
    mtimeSec: entry.mtimeSec,
    mtimeNsec: entry.mtimeNsec,
    linkname: entry.type === EntryType.symlink ? entry.target : ('' as ByteString),
    devmajor: 'major' in entry ? entry.major : 0,
    devminor: 'minor' in entry ? entry.minor : 0,
    xattrs: [...(entry.xattrs ?? [])],
  };
}
