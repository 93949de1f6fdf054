import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, type FileHandle, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { type Digest, digestOf, type Hex, hexOf, newHash } from '../oci/digest.ts';
import type { Blobs, StorePaths } from './port.ts';

type Expected = { digest?: Digest; sizeBytes?: number };

/** What came from or goes to a registry, byte for byte, in `blobs/sha256/`. */
export class FsBlobs implements Blobs {
  readonly #folder: string;
  readonly #tmp: string;

  constructor(paths: StorePaths) {
    this.#folder = join(paths.blobs, 'sha256');
    this.#tmp = paths.tmp;
  }

  path(digest: Digest): string {
    return join(this.#folder, hexOf(digest));
  }

  async has(digest: Digest): Promise<boolean> {
    try {
      await access(this.path(digest));
      return true;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return false;
      throw error;
    }
  }

  async put(
    source: AsyncIterable<Uint8Array>,
    expected: Expected = {},
    options: { signal?: AbortSignal } = {},
  ): Promise<{ digest: Digest; sizeBytes: number }> {
    const temporary = join(this.#tmp, `blob-${randomBytes(8).toString('hex')}`);
    try {
      const written = await this.#write(temporary, source, expected, options.signal);
      await rename(temporary, this.path(written.digest));
      await syncFolder(this.#folder);
      return written;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async *read(digest: Digest): AsyncIterable<Uint8Array> {
    try {
      for await (const chunk of createReadStream(this.path(digest), { highWaterMark: 256 * 1024 })) yield chunk as Buffer;
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
      throw new EngineError('NotFound', 'BLOB_NOT_FOUND', `there is no blob ${digest}`, { cause: error });
    }
  }

  async #write(path: string, source: AsyncIterable<Uint8Array>, expected: Expected, signal: AbortSignal | undefined) {
    const file = await open(path, 'wx', 0o444);
    try {
      const hash = newHash();
      let sizeBytes = 0;
      for await (const chunk of source) {
        signal?.throwIfAborted();
        hash.update(chunk);
        sizeBytes += chunk.length;
        if (expected.sizeBytes !== undefined && sizeBytes > expected.sizeBytes) throw wrongSize(expected, sizeBytes);
        await writeAll(file, chunk);
      }
      signal?.throwIfAborted();
      const digest = digestOf(hash.digest('hex') as Hex);
      if (expected.sizeBytes !== undefined && sizeBytes !== expected.sizeBytes) throw wrongSize(expected, sizeBytes);
      if (expected.digest !== undefined && digest !== expected.digest) {
        throw new EngineError('DataLoss', 'BLOB_DIGEST_MISMATCH', `expected ${expected.digest}, received ${digest}`, {
          hint: 'What was sent is damaged, or is another thing. Try again.',
        });
      }
      await file.sync();
      return { digest, sizeBytes };
    } finally {
      await file.close();
    }
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done)).bytesWritten;
}

/** The name too: after a power cut a rename may vanish though the data survived. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function wrongSize({ digest, sizeBytes }: Expected, received: number): EngineError {
  const what = digest === undefined ? 'a blob' : `blob ${digest}`;
  return new EngineError('DataLoss', 'BLOB_SIZE_MISMATCH', `${what} has ${sizeBytes} bytes, received ${received} or more`, {
    hint: 'What was sent is damaged, or is another thing. Try again.',
  });
}
