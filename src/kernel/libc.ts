import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

/**
 * The one place that loads the C library. Pointers are passed as addresses (plain numbers): that is the cheapest form for koffi, about
 * 0.25 us a call, and it makes no object a call. Every buffer whose address is taken is allocated once a thread and lives as long as it.
 */
const library = koffi.load('libc.so.6');

/** A pathname as system calls take it: text (UTF-8) or raw bytes. */
export type PathArgument = string | Buffer;

/** A system call that failed. `code` is the errno's name, as in Node's own errors, so that `isErrno` works with both. */
export class SystemCallError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;

  constructor(syscall: string, errno: number, path?: string | undefined, detail?: string | undefined) {
    const code = errnoName(errno);
    super(`${code}: ${syscall}${path === undefined ? '' : ` '${path}'`}${detail === undefined ? '' : `: ${detail}`}`);
    this.name = 'SystemCallError';
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.path = path;
  }
}

function errnoName(errno: number): string {
  const name = getSystemErrorName(-errno);
  if (/^E[A-Z0-9]+$/.test(name)) return name;
  // libuv has no name for a few of them (ENOTBLK, ESTALE, EUCLEAN): koffi's table has all.
  return Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `E${errno}`;
}

export const errnoNumbers: Readonly<Record<string, number>> = koffi.os.errno;

type NumberCall = (...values: (number | bigint)[]) => number;

/** Declares a C function of integer and address arguments. */
export function declare(definition: string): NumberCall {
  return library.func(definition) as unknown as NumberCall;
}

/**
 * As `declare`, for a call that may block: it runs on a thread of libuv's pool. Memory whose address it is given must not move or be freed
 * until it has ended. `lastErrno` is its errno in the turn in which the promise resolves.
 */
export function declareBlocking(definition: string): (...values: (number | bigint)[]) => Promise<number> {
  const call = library.func(definition).async as (...values: unknown[]) => void;
  return (...values) =>
    new Promise((resolve, reject) => {
      call(...values, (error: Error | null, result: number | bigint) => (error === null ? resolve(Number(result)) : reject(error)));
    });
}

/** syscall(2), for what is newer than the oldest C library that is supported. Numbers from 403 on are the same on every architecture. */
export const syscall = declare('long syscall(long, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)');

/** The errno of the call just made on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

export function failure(name: string, path?: PathArgument | undefined, detail?: string | undefined): SystemCallError {
  return new SystemCallError(name, koffi.errno(), path === undefined ? undefined : String(path), detail);
}

/** Passes a result through, or throws the named failure when it is -1. */
export function check(result: number, name: string, path?: PathArgument | undefined): number {
  if (result === -1) throw failure(name, path);
  return result;
}

/** Node's Buffer methods that its types leave out: they write and read without looking at an encoding's name, at half the cost. */
type RawBuffer = Buffer & {
  latin1Slice(start: number, end: number): string;
  latin1Write(text: string, offset: number): number;
  utf8Write(text: string, offset: number): number;
};

/** A buffer whose memory never moves, with its address. */
export type Pinned = { readonly buffer: RawBuffer; readonly address: number; readonly view: DataView };

export function pinned(sizeBytes: number): Pinned {
  const buffer = Buffer.from(new ArrayBuffer(sizeBytes)) as RawBuffer;
  return {
    buffer,
    address: Number(koffi.address(buffer)),
    view: new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength),
  };
}

const stringSlotBytes = 16_384;
const stringSlots = [pinned(stringSlotBytes), pinned(stringSlotBytes), pinned(stringSlotBytes)] as const;

/**
 * Writes a C string into one of this thread's three scratch slots and gives its address, good until the slot's next use. A call with
 * several strings uses one slot for each.
 */
export function cString(value: PathArgument, slot: 0 | 1 | 2 = 0): number {
  const { buffer, address } = stringSlots[slot];
  if (value.length * 3 >= stringSlotBytes) throw new SystemCallError('path', errnoNumbers.ENAMETOOLONG ?? 36, String(value).slice(0, 200));
  const length = typeof value === 'string' ? buffer.utf8Write(value, 0) : value.copy(buffer, 0);
  if (hasNul(buffer, length)) throw new SystemCallError('path', errnoNumbers.EINVAL ?? 22, String(value));
  buffer[length] = 0;
  return address;
}

/** As `cString`, for bytes in a latin1 string (a `ByteString`). */
export function cBytes(value: string, slot: 0 | 1 | 2 = 0): number {
  const { buffer, address } = stringSlots[slot];
  if (value.length >= stringSlotBytes) throw new SystemCallError('path', errnoNumbers.ENAMETOOLONG ?? 36, value.slice(0, 200));
  const length = buffer.latin1Write(value, 0);
  buffer[length] = 0;
  return address;
}

function hasNul(buffer: Buffer, length: number): boolean {
  for (let i = 0; i < length; i++) if (buffer[i] === 0) return true;
  return false;
}

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_RECURSIVE = 0x8000;
export const AT_EMPTY_PATH = 0x1000;

/** The index of the NUL that ends the C string at `start`. */
export function cStringEnd(buffer: Buffer, start: number): number {
  let end = start;
  while (buffer[end] !== 0) end++;
  return end;
}
