import { invalid } from '../errors.ts';

/** RFC 6455, section 5.2. */
export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
export type Opcode = (typeof Opcode)[keyof typeof Opcode];

/** `final` is false for all but the last fragment of a message. */
export type WebSocketFrame = { opcode: Opcode; final: boolean; payload: Buffer };

/** More than anybody types or pastes in one go; a larger message comes in fragments. */
export const maxFrameBytes = 1024 * 1024;
const maxControlBytes = 125;

/** A frame from the server: never masked, never fragmented. */
export function encodeFrame(opcode: Opcode, payload: Uint8Array): Buffer {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const bytes = Buffer.allocUnsafe(2 + extended + length);
  bytes[0] = 0x80 | opcode;
  bytes[1] = extended === 0 ? length : extended === 2 ? 126 : 127;
  if (extended === 2) bytes.writeUInt16BE(length, 2);
  if (extended === 8) bytes.writeBigUInt64BE(BigInt(length), 2);
  bytes.set(payload, 2 + extended);
  return bytes;
}

/**
 * Frames of a client from pieces of any size. Throws InvalidArgument `FRAME_INVALID` for what the RFC forbids (no mask, reserved bits and opcodes,
 * long or fragmented control frames) and for frames of more than `maxFrameBytes`; nothing can be read after that.
 */
export class WebSocketDecoder {
  #pending: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): WebSocketFrame[] {
    let bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const frames: WebSocketFrame[] = [];
    for (let head = readHead(bytes); head !== undefined && bytes.length >= head.end; head = readHead(bytes)) {
      const payload = unmask(bytes.subarray(head.start, head.end), bytes.subarray(head.start - 4, head.start));
      frames.push({ opcode: head.opcode, final: head.final, payload });
      bytes = bytes.subarray(head.end);
    }
    this.#pending = bytes;
    return frames;
  }
}

type Head = { opcode: Opcode; final: boolean; start: number; end: number };

/** Undefined while too little of it is there. */
function readHead(bytes: Buffer): Head | undefined {
  const [first, second] = bytes;
  if (first === undefined || second === undefined) return undefined;
  const opcode = (first & 0x0f) as Opcode;
  const final = (first & 0x80) !== 0;
  const short = second & 0x7f;
  const control = opcode >= Opcode.close;
  if ((first & 0x70) !== 0 || !Object.values(Opcode).includes(opcode)) throw wrong('has reserved bits or an unknown opcode');
  if ((second & 0x80) === 0) throw wrong('is not masked');
  if (control && (!final || short > maxControlBytes)) throw wrong('is a control frame that is long or in fragments');
  const extended = short < 126 ? 0 : short === 126 ? 2 : 8;
  const start = 2 + extended + 4;
  if (bytes.length < start) return undefined;
  const length = extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (length > maxFrameBytes) throw wrong(`has ${length} bytes, at most ${maxFrameBytes} are allowed`);
  return { opcode, final, start, end: start + length };
}

function unmask(masked: Buffer, key: Buffer): Buffer {
  const payload = Buffer.from(masked);
  for (let index = 0; index < payload.length; index += 1) payload[index] = (payload[index] ?? 0) ^ (key[index & 3] ?? 0);
  return payload;
}

function wrong(what: string): Error {
  return invalid('FRAME_INVALID', `a WebSocket frame ${what}`);
}
