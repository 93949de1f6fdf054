import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ByteString } from '../../src/base/bytes.ts';
import { emptyStat, type FileStat, type Packet, PacketType, readPacket, writePacket } from '../../src/buildkit/filesync/packets.ts';
import { FrameReader, frame } from '../../src/buildkit/grpc/frames.ts';
import type { BuildKit, SessionOffer } from '../../src/buildkit/port.ts';

/** Answers one call of the daemon. */
export type Call = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** Two ends of a connection. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-pair-'));
  const server = createServer().listen(join(folder, 's'));
  await once(server, 'listening');
  const near = connect(join(folder, 's'));
  const [far] = (await once(server, 'connection')) as [Socket];
  server.close();
  rmSync(folder, { recursive: true });
  for (const socket of [near, far]) socket.on('error', () => undefined);
  return [near, far];
}

/** A client's session whose calls are answered by hand. Methods that have no answer are not offered. */
export class FakeSession {
  readonly id: string;
  readonly calls: { path: string; headers: IncomingHttpHeaders }[] = [];
  /** Settles when the daemon has let go of the session. */
  attached: Promise<void> = Promise.resolve();
  readonly #answers: Record<string, Call>;
  readonly #sharedKey: string;
  #socket: Socket | undefined;

  constructor(id: string, answers: Record<string, Call>, sharedKey = '') {
    this.id = id;
    this.#answers = answers;
    this.#sharedKey = sharedKey;
  }

  async open(buildkit: BuildKit): Promise<this> {
    const [near, far] = await socketPair();
    this.#socket = near;
    const server = createHttp2Server();
    server.on('session', (session: ServerHttp2Session) => session.on('error', () => undefined));
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on('error', () => undefined);
      const path = String(headers[':path']);
      this.calls.push({ path, headers });
      const answer = this.#answers[path];
      if (answer === undefined) refuse(stream, 12, `unknown method ${path}`);
      else answer(stream, headers);
    });
    server.emit('connection', near);
    // As the API does: who ends his side is gone.
    far.on('end', () => far.destroy());
    const offer: SessionOffer = { id: this.id, name: 'fake', sharedKey: this.#sharedKey, methods: Object.keys(this.#answers) };
    this.attached = buildkit.attachSession(offer, async () => far);
    return this;
  }

  vanish(): void {
    this.#socket?.destroy();
  }
}

export const diffCopy = '/moby.filesync.v1.FileSync/DiffCopy';
export const fileSend = '/moby.filesync.v1.FileSend/DiffCopy';

/** Ends a call with a status and nothing else. */
export function refuse(stream: ServerHttp2Stream, status: number, message: string): void {
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(status), 'grpc-message': encodeURIComponent(message) },
    { endStream: true },
  );
}

/** Answers a call with one message. */
export function reply(stream: ServerHttp2Stream, message: Uint8Array): void {
  begin(stream);
  stream.write(frame(message));
  finish(stream);
}

export function begin(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
}

export function finish(stream: ServerHttp2Stream): void {
  stream.end();
}

export type FakeFile = { path: string; content?: string; stat?: Partial<FileStat> };

/** The folders of a client, by the names under which they are offered. `asked` has the paths whose content was asked for. */
export function filesOf(folders: Record<string, () => FakeFile[]>, asked: string[] = []): Call {
  return (stream, headers) => {
    const files = folders[String(headers['dir-name'])]?.();
    if (files === undefined) return refuse(stream, 5, `no access allowed to dir "${headers['dir-name']}"`);
    const follow = headers.followpaths === undefined ? undefined : String(headers.followpaths).split(', ');
    const sent = files.filter(({ path }) => follow === undefined || follow.some((each) => path === each || path.startsWith(`${each}/`)));
    begin(stream);
    for (const file of sent) stream.write(frame(writePacket({ type: PacketType.PACKET_STAT, stat: statOf(file) })));
    stream.write(frame(writePacket({ type: PacketType.PACKET_STAT })));
    onPackets(stream, ({ type, id }) => {
      if (type === PacketType.PACKET_FIN) {
        stream.write(frame(writePacket({ type: PacketType.PACKET_FIN })));
        finish(stream);
      } else if (type === PacketType.PACKET_REQ) {
        const file = sent[id];
        asked.push(file?.path ?? '?');
        const data = Buffer.from(file?.content ?? '');
        if (data.length > 0) stream.write(frame(writePacket({ type: PacketType.PACKET_DATA, id, data })));
        stream.write(frame(writePacket({ type: PacketType.PACKET_DATA, id })));
      }
    });
  };
}

export function onPackets(stream: ServerHttp2Stream, take: (packet: Packet) => void): void {
  const frames = new FrameReader((message) => take(readPacket(message)));
  stream.on('data', (chunk: Buffer) => frames.push(chunk));
}

export function statOf({ path, content, stat }: FakeFile): FileStat {
  return {
    ...emptyStat(),
    path: path as ByteString,
    mode: 0o644,
    size: Buffer.byteLength(content ?? ''),
    mtimeSec: 1_700_000_000,
    ...stat,
  };
}
