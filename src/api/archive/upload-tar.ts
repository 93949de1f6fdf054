import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { EngineError, isErrno } from '../../base/errors.ts';

const chunkBytes = 256 * 1024;

/** An uploaded tar's own bytes: plain, gzip, zstd, bzip2 or xz, told by how it begins. */
export async function* readUploadedTar(file: string): AsyncGenerator<Buffer> {
  const program = programOf(startOf(file));
  if (typeof program === 'string') yield* throughProgram(program, file);
  else {
    const source = createReadStream(file, { highWaterMark: chunkBytes });
    const decompressor = program?.();
    if (decompressor !== undefined) source.once('error', (error) => decompressor.destroy(error)).pipe(decompressor);
    try {
      for await (const chunk of decompressor ?? source) yield chunk as Buffer;
    } catch (error) {
      throw isErrno(error) || !isZlibError(error) ? error : damaged(error instanceof Error ? error.message : String(error), error);
    } finally {
      source.destroy();
      decompressor?.destroy();
    }
  }
}

function startOf(file: string): string {
  const magic = Buffer.alloc(6);
  const fd = openSync(file, 'r');
  try {
    return magic.toString('latin1', 0, readSync(fd, magic, 0, magic.length, 0));
  } finally {
    closeSync(fd);
  }
}

function programOf(start: string) {
  if (start.startsWith('\x1f\x8b')) return () => createGunzip({ chunkSize: chunkBytes });
  if (start.startsWith('\x28\xb5\x2f\xfd')) return () => createZstdDecompress({ chunkSize: chunkBytes });
  if (start.startsWith('BZh')) return 'bzip2' as const;
  if (start.startsWith('\xfd7zXZ')) return 'xz' as const;
  return undefined;
}

async function* throughProgram(program: 'bzip2' | 'xz', file: string): AsyncGenerator<Buffer> {
  const input = openSync(file, 'r');
  const child = spawn(program, ['-dc'], { stdio: [input, 'pipe', 'pipe'] });
  closeSync(input);
  const ended = once(child, 'close');
  let said = '';
  child.stderr?.on('data', (text: Buffer) => {
    said = (said + text.toString()).slice(0, 500);
  });
  try {
    for await (const chunk of child.stdout ?? []) yield chunk as Buffer;
    const [code] = await ended;
    if (code !== 0) throw damaged(said.trim() || `${program} ended with ${code}`);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
    throw new EngineError('Unsupported', 'DECOMPRESSOR_MISSING', `the archive is compressed with ${program}, which is not installed here`, {
      hint: `Install it (apt-get install ${program === 'xz' ? 'xz-utils' : 'bzip2'}) or compress the archive with gzip or zstd.`,
    });
  } finally {
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
  }
}

function isZlibError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(Z_|ZSTD_)/.test(String(error.code));
}

function damaged(why: string, cause?: unknown): EngineError {
  return new EngineError('InvalidArgument', 'ARCHIVE_DAMAGED', `the archive cannot be decompressed: ${why}`, { cause });
}
