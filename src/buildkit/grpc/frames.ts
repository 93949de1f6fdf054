import { EngineError } from '../../base/errors.ts';

/** gRPC over HTTP/2, "Length-Prefixed-Message": a flag for compression, four bytes of length, the message. */
const headBytes = 5;
/** Peers send pieces of files of 32 KiB; nobody needs more than BuildKit's own limit. */
const maxFrameBytes = 16 * 1024 * 1024;

/** Cuts a stream of bytes into messages. Holds at most one incomplete message. */
export class FrameReader {
  readonly #onMessage: (message: Buffer) => void;
  #rest: Buffer[] = [];
  #restBytes = 0;
  #wanted = headBytes;

  /** The buffer that `onMessage` gets is the chunk's own: copy what is to stay. */
  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage;
  }

  push(chunk: Buffer): void {
    let data = chunk;
    if (this.#restBytes > 0) {
      this.#rest.push(chunk);
      this.#restBytes += chunk.length;
      if (this.#restBytes < this.#wanted) return;
      data = Buffer.concat(this.#rest, this.#restBytes);
      this.#rest = [];
      this.#restBytes = 0;
    }
    let at = 0;
    this.#wanted = headBytes;
    while (data.length - at >= headBytes) {
      if (data[at] !== 0) throw malformed('a message is compressed, which nobody asked for');
      const length = data.readUInt32BE(at + 1);
      if (length > maxFrameBytes) throw malformed(`a message of ${length} bytes is larger than ${maxFrameBytes}`);
      if (data.length - at < headBytes + length) {
        this.#wanted = headBytes + length;
        break;
      }
      this.#onMessage(data.subarray(at + headBytes, at + headBytes + length));
      at += headBytes + length;
    }
    if (at === data.length) return;
    this.#rest = [Buffer.from(data.subarray(at))];
    this.#restBytes = data.length - at;
  }

  /** Throws when the stream ends inside a message. */
  end(): void {
    if (this.#restBytes > 0) throw malformed('the stream ends inside a message');
  }
}

export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(headBytes + message.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, headBytes);
  return framed;
}

export function malformed(why: string): EngineError {
  return new EngineError('InvalidArgument', 'SESSION_MALFORMED', `the client does not keep to the protocol: ${why}`);
}
