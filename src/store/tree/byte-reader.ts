import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';

/** Reads what ByteWriter wrote, strictly: every number in its one shortest form, nothing beyond the end. */
export class ByteReader {
  readonly buffer: Buffer;
  offset: number;
  readonly end: number;
  readonly #what: string;

  /** `what` names the thing in errors: "directory node ab12…". */
  constructor(bytes: Uint8Array, what: string, start = 0, end = bytes.length) {
    this.buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = start;
    this.end = end;
    this.#what = what;
  }

  fail(reason: string): never {
    throw new EngineError('DataLoss', 'TREE_DAMAGED', `${this.#what} is damaged at byte ${this.offset}: ${reason}`, {
      hint: 'Get the image again (slipway pull or slipway load), or build it again with --no-cache.',
    });
  }

  u8(): number {
    if (this.offset >= this.end) this.fail('it ends too early');
    return this.buffer[this.offset++] as number; // within the bounds just checked
  }

  u32(): number {
    this.#need(4);
    const value = this.buffer.readUInt32LE(this.offset);
    this.offset += 4;
    return value;
  }

  varint(limit: number, what: string): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; ; count++) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 && count > 0) this.fail(`${what} is not in its shortest form`);
        break;
      }
      if (count === 7) this.fail(`${what} is too long`);
      scale *= 0x80;
    }
    if (value > limit) this.fail(`${what} is ${value}, more than ${limit}`);
    return value;
  }

  signedVarint(limit: number, what: string): number {
    const value = this.varint(2 * limit, what);
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  bytes(limit: number, what: string): ByteString {
    const count = this.varint(limit, `the length of ${what}`);
    this.#need(count);
    const start = this.offset;
    this.offset += count;
    return this.buffer.toString('latin1', start, this.offset) as ByteString;
  }

  digest(): Hex {
    this.#need(32);
    const start = this.offset;
    this.offset += 32;
    return this.buffer.toString('hex', start, this.offset) as Hex;
  }

  magic(expected: readonly number[], version: number): void {
    for (const byte of expected) if (this.u8() !== byte) this.fail('it does not start as it should');
    const found = this.u8();
    if (found !== version) this.fail(`its format has version ${found}, this engine reads ${version}`);
  }

  finish(): void {
    if (this.offset !== this.end) this.fail(`${this.end - this.offset} bytes are left over`);
  }

  #need(count: number): void {
    if (this.end - this.offset < count) this.fail('it ends too early');
  }
}
