import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { type Digest, digestOf, type Hex, hexOf, newHash } from '../oci/digest.ts';
import type { DatabaseClient } from './database/client.ts';
import type { Blobs, StorePaths } from './port.ts';

/** Long enough for anybody who found it to have said so in a lease or a record. */
const lookedMs = 10 * 60_000;
const lookedLimit = 100_000;

type Expected = { digest?: Digest; sizeBytes?: number };

/** What came from or goes to a registry, byte for byte, in `blobs/sha256/`. */
export class FsBlobs implements Blobs {
  readonly #folder: string;
  readonly #tmp: string;
  readonly #database: DatabaseClient;
  /** When each was last looked for or put, on the monotonic clock: whoever did is about to rely on it. */
  readonly #looked = new Map<Digest, number>();
  readonly #removing = new Map<Digest, Promise<void>>();

  constructor(paths: StorePaths, database: DatabaseClient) {
    this.#database = database;
    this.#folder = join(paths.blobs, 'sha256');
    this.#tmp = paths.tmp;
  }

  path(digest: Digest): string {
    return join(this.#folder, hexOf(digest));
  }

  async has(digest: Digest): Promise<boolean> {
    this.#look(digest);
    await this.#removing.get(digest);
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
      this.#look(written.digest);
      await this.#removing.get(written.digest);
      await rename(temporary, this.path(written.digest));
      await syncFolder(this.#folder);
      return written;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async list(): Promise<Digest[]> {
    const names = await readdir(this.#folder);
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => digestOf(name as Hex));
  }

  async remove(digests: readonly Digest[], options: { though?: 'named' } = {}): Promise<Digest[]> {
    const { promise: removed, resolve } = Promise.withResolvers<void>();
    const idle = digests.filter((digest) => !this.#wasLookedFor(digest) && !this.#removing.has(digest));
    // From here on, whoever looks for one of them waits until it is decided.
    for (const digest of idle) this.#removing.set(digest, removed);
    try {
      const { leased, named } = await this.#database.call('blobsInUse', idle);
      const used = new Set(options.though === 'named' ? leased : [...leased, ...named]);
      const gone = idle.filter((digest) => !used.has(digest));
      for (const digest of gone) await rm(this.path(digest), { force: true });
      return gone;
    } finally {
      for (const digest of idle) this.#removing.delete(digest);
      resolve();
    }
  }

  #wasLookedFor(digest: Digest): boolean {
    const at = this.#looked.get(digest);
    return at !== undefined && performance.now() - at < lookedMs;
  }

  #look(digest: Digest): void {
    this.#looked.delete(digest);
    this.#looked.set(digest, performance.now());
    for (const [oldest, at] of this.#looked) {
      if (performance.now() - at < lookedMs && this.#looked.size <= lookedLimit) return;
      this.#looked.delete(oldest);
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
