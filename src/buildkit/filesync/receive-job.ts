import { readSync, writeSync } from 'node:fs';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { FrameReader, frame, malformed } from '../grpc/frames.ts';
import { type IncomingFile, IncomingTree } from './incoming-tree.ts';
import { PacketType, readPacket, writePacket } from './packets.ts';

export type ReceiveParams = {
  /** Descriptors of pipes with the two directions of the stream: what the client sends, and what is sent to it. The caller closes them. */
  readonly input: number;
  readonly output: number;
  /** What the same client's folder was last time. */
  readonly earlier?: TreeId | undefined;
};

/** `files` and `bytes` of the whole tree; `receivedBytes` of content that travelled. */
export type ReceiveResult = TreeRef & { files: number; bytes: number; receivedFiles: number; receivedBytes: number };
export type ReceiveProgress = { receivedBytes: number };

/** Asked for and not whole yet. The client's own queue holds 128; past that it would stop reading while it waits for us to read. */
const maxAsked = 96;
/** Files up to this size are put together in memory, larger ones written as they come. */
const smallBytes = 64 * 1024;
const reportEveryMs = 200;

type Arriving = { file: IncomingFile; received: number; parts: Buffer[]; object: ReturnType<TreeContext['writeObject']> | undefined };

/**
 * Job `buildkit.receive`: the receiving side of fsutil's protocol (docs/formats/buildkit.md, "Files from the client"). Asks for the files that `earlier` lacks and
 * makes a tree of it all.
 */
export function receiveFiles(context: TreeContext, params: ReceiveParams): ReceiveResult {
  const { input, output } = params;
  const receiver = new Receiver(context, output, params.earlier);
  try {
    const frames = new FrameReader((message) => receiver.take(message));
    const buffer = Buffer.allocUnsafe(256 * 1024);
    while (!receiver.complete) {
      const length = readSync(input, buffer);
      if (length === 0) throw new EngineError('Unavailable', 'SESSION_LOST', 'the client stopped sending its files');
      frames.push(buffer.subarray(0, length));
      receiver.flush();
    }
    return receiver.finish();
  } catch (error) {
    receiver.abort();
    throw error;
  }
}

class Receiver {
  readonly #context: TreeContext;
  readonly #output: number;
  readonly #tree: IncomingTree;
  readonly #wanted: { id: number; file: IncomingFile }[] = [];
  #nextWanted = 0;
  readonly #arriving = new Map<number, Arriving>();
  #out: Buffer[] = [];
  #nextId = 0;
  #allStats = false;
  #receivedFiles = 0;
  #receivedBytes = 0;
  #reportedAt = 0;

  constructor(context: TreeContext, output: number, earlier: TreeId | undefined) {
    this.#context = context;
    this.#output = output;
    this.#tree = new IncomingTree(context, earlier);
  }

  get complete(): boolean {
    return this.#allStats && this.#arriving.size === 0 && this.#nextWanted === this.#wanted.length;
  }

  take(message: Uint8Array): void {
    const packet = readPacket(message);
    switch (packet.type) {
      case PacketType.PACKET_STAT:
        if (this.#allStats) throw malformed('a stat after the last one');
        if (packet.stat === undefined) this.#allStats = true;
        else {
          const file = this.#tree.add(packet.stat);
          if (file !== undefined) this.#wanted.push({ id: this.#nextId, file });
          this.#nextId++;
        }
        return;
      case PacketType.PACKET_DATA:
        this.#data(packet.id, packet.data);
        return;
      case PacketType.PACKET_ERR:
        throw new EngineError(
          'InvalidArgument',
          'CONTEXT_UNREADABLE',
          `the client cannot send its files: ${Buffer.from(packet.data).toString('utf8').slice(0, 2000)}`,
        );
      default:
        throw malformed(`a packet of type ${packet.type}`);
    }
  }

  /** Asks for more, and writes what is to be sent. */
  flush(): void {
    while (this.#arriving.size < maxAsked && this.#nextWanted < this.#wanted.length) {
      const next = this.#wanted[this.#nextWanted++];
      if (next === undefined) break;
      this.#arriving.set(next.id, { file: next.file, received: 0, parts: [], object: undefined });
      this.#send({ type: PacketType.PACKET_REQ, id: next.id });
    }
    this.#write();
    const now = Date.now();
    if (now - this.#reportedAt < reportEveryMs) return;
    this.#reportedAt = now;
    this.#context.report({ receivedBytes: this.#receivedBytes } satisfies ReceiveProgress);
  }

  finish(): ReceiveResult {
    this.#send({ type: PacketType.PACKET_FIN });
    this.#write();
    const tree = this.#tree.finish();
    const { files, bytes } = this.#tree;
    return { ...tree, files, bytes, receivedFiles: this.#receivedFiles, receivedBytes: this.#receivedBytes };
  }

  abort(): void {
    for (const { object } of this.#arriving.values()) object?.abort();
  }

  #data(id: number, data: Uint8Array): void {
    const arriving = this.#arriving.get(id);
    if (arriving === undefined) throw malformed(`content of file ${id}, which was not asked for`);
    if (data.length === 0) {
      this.#close(arriving);
      this.#arriving.delete(id);
      return;
    }
    arriving.received += data.length;
    this.#receivedBytes += data.length;
    if (arriving.object === undefined && arriving.received <= smallBytes) {
      arriving.parts.push(Buffer.from(data));
      return;
    }
    arriving.object ??= this.#context.writeObject();
    for (const part of arriving.parts.splice(0)) arriving.object.write(part);
    arriving.object.write(data);
  }

  /** A file that changed after its stat was sent has another size than it said; what came is what there is. */
  #close({ file, parts, object, received }: Arriving): void {
    const made: { object: Hex; size: number } = object === undefined ? this.#context.putBytes(Buffer.concat(parts)) : object.finish();
    file.object = made.object;
    file.size = received;
    this.#receivedFiles++;
  }

  #send(packet: Parameters<typeof writePacket>[0]): void {
    this.#out.push(frame(writePacket(packet)));
  }

  #write(): void {
    if (this.#out.length === 0) return;
    const bytes = Buffer.concat(this.#out);
    this.#out = [];
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#output, bytes, at);
  }
}
