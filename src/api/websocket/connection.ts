import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { beginTakenOver } from '../authorization/guard.ts';
import { invalid } from '../errors.ts';
import { readSocket } from '../hijack.ts';
import type { StdioConnection } from '../stdio.ts';
import { writePatiently } from '../stream.ts';
import { encodeFrame, Opcode, WebSocketDecoder, type WebSocketFrame } from './frames.ts';

export type WebSocketOptions = {
  /** False: the client's messages are not wanted and are read away. */
  input: boolean;
  /** Messages to the client are binary, else text. */
  binary: boolean;
  /** Closes the connection when the daemon stops. */
  shutdown: AbortSignal;
};

/** What a key is hashed with (RFC 6455, section 1.3). */
const handshakeGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Close codes of RFC 6455, section 7.4.1. */
const closeCode = { normal: 1000, protocolError: 1002 };

/** Checks the opening handshake. What it returns takes the connection over and answers 101; until then any status may be answered. */
export function takeWebSocket(request: FastifyRequest): (reply: FastifyReply, options: WebSocketOptions) => WebSocketConnection {
  const { 'sec-websocket-key': key = '', 'sec-websocket-version': version = '' } = request.headers as Record<string, string | undefined>;
  if (version !== '13') throw invalid('HANDSHAKE_INVALID', 'Sec-WebSocket-Version must be 13');
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) throw invalid('HANDSHAKE_INVALID', 'Sec-WebSocket-Key must be 16 bytes in base64');
  const accept = createHash('sha1')
    .update(key + handshakeGuid)
    .digest('base64');
  return (reply, options) => {
    const { socket } = request.raw;
    reply.hijack();
    reply.raw.detachSocket(socket);
    const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
    const begun = beginTakenOver(request, socket, 101, () => socket.write(head));
    return new WebSocketConnection(socket, options, begun);
  };
}

/** A client's WebSocket as a stream of bytes. Its closing is the client's going away: unlike a socket it has no half that ends alone. */
export class WebSocketConnection implements StdioConnection {
  readonly signal: AbortSignal;
  readonly #socket: Socket;
  readonly #opcode: Opcode;
  readonly #gone = new AbortController();
  #closing = false;
  /** Set where plugins judge the answer: nothing goes either way before. */
  readonly #begun: Promise<void> | undefined;

  constructor(socket: Socket, { input, binary, shutdown }: WebSocketOptions, begun?: Promise<void>) {
    this.#socket = socket;
    this.#begun = begun;
    this.#opcode = binary ? Opcode.binary : Opcode.text;
    this.signal = this.#gone.signal;
    const close = () => this.close();
    socket.on('error', () => this.#leave());
    socket.on('close', () => {
      shutdown.removeEventListener('abort', close);
      this.#leave();
    });
    shutdown.addEventListener('abort', close);
    if (socket.destroyed) this.#leave();
    begun?.catch(() => {
      this.#closing = true;
      this.#leave();
    });
    // Pings and the client's close arrive among its messages, wanted or not.
    if (!input) void drain(this.input());
  }

  async *input(): AsyncGenerator<Buffer> {
    const decoder = new WebSocketDecoder();
    try {
      await this.#begun;
      for await (const chunk of readSocket(this.#socket)) {
        for (const frame of decoder.push(chunk)) {
          if (frame.opcode === Opcode.close) return this.#end(closeCode.normal);
          if (frame.opcode < Opcode.close) yield frame.payload;
          else this.#answer(frame);
        }
      }
      this.#leave();
    } catch {
      // Reset by the peer, or no WebSocket at all.
      this.#end(closeCode.protocolError);
    }
  }

  async write(chunk: Uint8Array): Promise<void> {
    await this.#begun?.catch(() => undefined);
    if (!this.#closing) await writePatiently(this.#socket, encodeFrame(this.#opcode, chunk));
  }

  close(): void {
    if (this.#begun === undefined) this.#end(closeCode.normal);
    else void this.#begun.catch(() => undefined).then(() => this.#end(closeCode.normal));
  }

  #answer({ opcode, payload }: WebSocketFrame): void {
    if (opcode === Opcode.ping && this.#socket.writable) this.#socket.write(encodeFrame(Opcode.pong, payload));
  }

  #end(code: number): void {
    if (!this.#closing && this.#socket.writable) {
      const payload = Buffer.alloc(2);
      payload.writeUInt16BE(code);
      this.#socket.write(encodeFrame(Opcode.close, payload));
    }
    this.#closing = true;
    this.#leave();
    this.#socket.destroySoon();
  }

  #leave(): void {
    this.#gone.abort(new DOMException('the client went away', 'AbortError'));
  }
}

async function drain(input: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of input);
}
