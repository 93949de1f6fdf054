import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import type { Duplex, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { EngineError, errnoOf } from '../base/errors.ts';

export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz';

/** Part of a file: `offset` and `length` in bytes; without length, to the end. */
export type FileRange = { readonly file: string; readonly offset?: number | undefined; readonly length?: number | undefined };

const chunkBytes = 256 * 1024;

const signatures: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b, 0x08]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
];

/** Tells a compression by its first bytes. zstd may begin with a skippable frame (RFC 8878, 3.1.2). */
export function detectCompression(head: Uint8Array): Compression {
  for (const [compression, bytes] of signatures) if (bytes.every((byte, index) => head[index] === byte)) return compression;
  const skippable = ((head[0] ?? 0) & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18;
  return skippable ? 'zstd' : 'none';
}

export function compressionOf(range: FileRange): Compression {
  const fd = openSync(range.file, 'r');
  try {
    const head = Buffer.alloc(6);
    const count = readSync(fd, head, 0, Math.min(head.length, range.length ?? head.length), range.offset ?? 0);
    return detectCompression(head.subarray(0, count));
  } finally {
    closeSync(fd);
  }
}

/** Bytes in the range; InvalidArgument `ARCHIVE_TRUNCATED` when the file ends before the range does. */
export function rangeSize(range: FileRange, what: string): number {
  const fd = openSync(range.file, 'r');
  try {
    const available = Math.max(0, fstatSync(fd).size - (range.offset ?? 0));
    if (range.length !== undefined && available < range.length) throw truncated(what);
    return range.length ?? available;
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads a range with blocking calls, in chunks that are only lent until the next one: for job threads. `skip` is asked before each read
 * how many bytes to pass over.
 */
export function* readRange(range: FileRange, what: string, skip: () => number = () => 0): Generator<Buffer> {
  const end = (range.offset ?? 0) + rangeSize(range, what);
  const fd = openSync(range.file, 'r');
  try {
    const buffer = Buffer.allocUnsafeSlow(chunkBytes * 4);
    let position = range.offset ?? 0;
    while (position < end) {
      const count = readSync(fd, buffer, 0, Math.min(buffer.length, end - position), position);
      if (count === 0) throw truncated(what);
      yield count === buffer.length ? buffer : buffer.subarray(0, count);
      position += count;
      position += Math.min(skip(), end - position);
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads a range through its decompressor. `onRaw` sees the compressed bytes. gzip and zstd are built in; bzip2 and xz need the program of
 * that name (Unsupported `DECOMPRESSOR_MISSING`). Damage is InvalidArgument `ARCHIVE_DAMAGED` or `ARCHIVE_TRUNCATED`.
 */
export async function* readDecompressed(
  range: FileRange,
  compression: Compression,
  what: string,
  onRaw?: (chunk: Buffer) => void,
): AsyncGenerator<Buffer> {
  if (compression === 'none') {
    for (const chunk of readRange(range, what)) {
      onRaw?.(chunk);
      yield chunk;
    }
    return;
  }
  const size = rangeSize(range, what);
  if (size === 0) return;
  const start = range.offset ?? 0;
  const raw = createReadStream(range.file, { start, end: start + size - 1, highWaterMark: chunkBytes });
  if (onRaw !== undefined) raw.on('data', (chunk) => onRaw(chunk as Buffer));
  yield* decompress(raw, compression, what);
}

/** As `readDecompressed`, of a stream. */
export function decompress(raw: Readable, compression: Exclude<Compression, 'none'>, what: string): AsyncGenerator<Buffer> {
  if (compression === 'bzip2' || compression === 'xz') return throughProgram(raw, compression, what);
  const decompressor = compression === 'gzip' ? createGunzip({ chunkSize: chunkBytes }) : createZstdDecompress({ chunkSize: chunkBytes });
  return throughStream(raw, decompressor, what);
}

async function* throughStream(raw: Readable, decompressor: Duplex, what: string): AsyncGenerator<Buffer> {
  raw.once('error', (error) => decompressor.destroy(error));
  raw.pipe(decompressor);
  try {
    for await (const chunk of decompressor) yield chunk as Buffer;
  } catch (error) {
    throw explain(error, what);
  } finally {
    raw.destroy();
    decompressor.destroy();
  }
}

async function* throughProgram(raw: Readable, program: 'bzip2' | 'xz', what: string): AsyncGenerator<Buffer> {
  const child = spawn(program, ['-dc'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const exit = exitOf(child);
  // The program ends early on damage; its exit status says so, not the broken pipe.
  child.stdin.on('error', () => raw.destroy());
  raw.once('error', () => child.kill());
  raw.pipe(child.stdin);
  try {
    for await (const chunk of child.stdout) yield chunk as Buffer;
    const { code, error, message } = await exit;
    if (error !== undefined && errnoOf(error) === 'ENOENT') throw missingProgram(program, what);
    if (code !== 0)
      throw new EngineError('InvalidArgument', 'ARCHIVE_DAMAGED', `${what}: ${program} failed: ${message || `exit status ${code}`}`);
  } finally {
    raw.destroy();
    child.kill('SIGKILL');
    await exit;
  }
}

function exitOf(child: ChildProcess): Promise<{ code: number | null; error?: Error; message: string }> {
  let message = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    if (message.length < 500) message += chunk.toString();
  });
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, error, message: message.trim() }));
    child.once('close', (code) => resolve({ code, message: message.trim() }));
  });
}

function missingProgram(program: 'bzip2' | 'xz', what: string): EngineError {
  return new EngineError('Unsupported', 'DECOMPRESSOR_MISSING', `${what} is compressed with ${program}, which is not installed here`, {
    hint: `Install it (apt-get install ${program === 'xz' ? 'xz-utils' : 'bzip2'}) or compress the archive with gzip or zstd.`,
  });
}

/** What a decompressor's error means to whoever gave the archive. */
function explain(error: unknown, what: string): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'Z_BUF_ERROR') return truncated(what);
  if (code.startsWith('Z_') || code.startsWith('ZSTD_')) {
    return new EngineError('InvalidArgument', 'ARCHIVE_DAMAGED', `${what}: the compressed data is damaged: ${(error as Error).message}`, {
      hint: 'Fetch or make the archive again.',
      cause: error,
    });
  }
  return error;
}

export function truncated(what: string): EngineError {
  return new EngineError('InvalidArgument', 'ARCHIVE_TRUNCATED', `${what} ends too early`, {
    hint: 'The archive was cut short: fetch or make it again.',
  });
}
