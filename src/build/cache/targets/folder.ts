import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, isErrno } from '../../../base/errors.ts';
import { digestOf, hexOf, parseDigest, sha256 } from '../../../oci/digest.ts';
import type { Descriptor, ImageIndex } from '../../../oci/image.ts';
import { parseManifestDocument } from '../../../oci/manifest.ts';
import { MediaType } from '../../../oci/media-types.ts';
import { cacheArtifactType } from '../document.ts';
import type { CacheTarget, TargetBlob, TargetManifest, TargetOptions } from './port.ts';

const refName = 'org.opencontainers.image.ref.name';
const lockName = '.slipway-lock';
/** Who holds the lock writes two small files; one that is older was left by a crash. */
const staleLockMs = 30_000;
const lockWaitMs = 60_000;
/** Blobs that nothing names may be on their way into a cache that is being written. */
const strayBlobMs = 24 * 3600_000;
const maxIndexBytes = 4 << 20;

/** A cache in a folder: an OCI image layout whose index names the manifest by a tag. What else the layout holds stays. */
export class FolderTarget implements CacheTarget {
  readonly name: string;
  readonly #folder: string;
  readonly #tag: string;

  constructor({ path, tag = 'latest' }: { path: string; tag?: string | undefined }) {
    this.name = path;
    this.#folder = path;
    this.#tag = tag;
  }

  async read(): Promise<TargetManifest | undefined> {
    const found = (await this.#index())?.manifests.find((each) => this.#isOurs(each));
    if (found === undefined) return undefined;
    const bytes = await readFile(this.#path(found)).catch(() => undefined);
    const isSound = bytes !== undefined && digestOf(sha256(bytes)) === found.digest;
    // Nothing is what a damaged manifest says; the next export begins anew in its place.
    return { bytes: isSound ? bytes : Buffer.alloc(0), version: found.digest };
  }

  async write(manifest: Buffer, { version, blobs }: Parameters<CacheTarget['write']>[1], { signal }: TargetOptions): Promise<boolean> {
    await this.#prepare();
    await using _lock = await this.#lock(signal);
    const index = (await this.#index()) ?? { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: [] };
    if (index.manifests.find((each) => this.#isOurs(each))?.digest !== version) return false;
    // What another export has just removed as no longer needed must come again.
    for (const blob of blobs) if (!(await this.has(blob))) return false;
    const digest = digestOf(sha256(manifest));
    const entry: Descriptor = {
      mediaType: MediaType.ociManifest,
      digest,
      size: manifest.length,
      artifactType: cacheArtifactType,
      annotations: { [refName]: this.#tag },
    };
    await replaceFile(this.#path(entry), manifest);
    const manifests = [...index.manifests.filter((each) => !this.#isOurs(each)), entry];
    await replaceFile(join(this.#folder, 'index.json'), Buffer.from(`${JSON.stringify({ ...index, manifests })}\n`));
    await this.#removeUnreferenced(manifests, version);
    return true;
  }

  async has({ digest, size }: TargetBlob): Promise<boolean> {
    return (await stat(this.#path({ digest })).catch(() => undefined))?.size === size;
  }

  async upload(blob: TargetBlob, file: string, { signal }: TargetOptions): Promise<void> {
    await this.#prepare();
    const temporary = this.#temporary();
    try {
      signal?.throwIfAborted();
      await copyFile(file, temporary);
      await syncFile(temporary);
      await rename(temporary, this.#path(blob));
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async *blob({ digest }: Pick<Descriptor, 'digest'>, { signal, onBytes, offset = 0 }: Parameters<CacheTarget['blob']>[1] = {}) {
    const stream = createReadStream(this.#path({ digest }), { start: offset, ...(signal === undefined ? {} : { signal }) });
    try {
      for await (const bytes of stream as AsyncIterable<Buffer>) {
        onBytes?.(bytes.length);
        yield bytes;
      }
    } catch (error) {
      throw this.#missing(error, digest);
    }
  }

  async *parts(
    { digest }: Pick<Descriptor, 'digest'>,
    ranges: Parameters<CacheTarget['parts']>[1],
    { signal, onBytes }: Parameters<CacheTarget['parts']>[2] = {},
  ) {
    await using file = await open(this.#path({ digest })).catch((error) => Promise.reject(this.#missing(error, digest)));
    for (const { offset, length } of ranges) {
      signal?.throwIfAborted();
      const bytes = await readRange(file, offset, length);
      if (bytes === undefined) throw damaged(this.#path({ digest }));
      onBytes?.(length);
      yield { offset, bytes };
    }
  }

  #isOurs({ annotations, artifactType }: Descriptor): boolean {
    return artifactType === cacheArtifactType && annotations?.[refName] === this.#tag;
  }

  #path({ digest }: { digest: string }): string {
    return join(this.#folder, 'blobs/sha256', hexOf(parseDigest(digest)));
  }

  #temporary(): string {
    return join(this.#folder, `.new-${randomBytes(8).toString('hex')}`);
  }

  #missing(error: unknown, digest: string): unknown {
    if (!isErrno(error, 'ENOENT')) return error;
    return new EngineError('NotFound', 'CACHE_BLOB_MISSING', `the cache ${this.name} has no blob ${digest}`, { cause: error });
  }

  async #index(): Promise<ImageIndex | undefined> {
    const path = join(this.#folder, 'index.json');
    let bytes: Buffer;
    try {
      if ((await stat(path)).size > maxIndexBytes) throw damaged(path);
      bytes = await readFile(path);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
    const document = parseManifestDocument(bytes, { mediaType: MediaType.ociIndex, what: path });
    if (document.kind !== 'index') throw damaged(path);
    return document.index;
  }

  async #prepare(): Promise<void> {
    await mkdir(join(this.#folder, 'blobs/sha256'), { recursive: true });
    const layout = join(this.#folder, 'oci-layout');
    await writeFile(layout, '{"imageLayoutVersion":"1.0.0"}', { flag: 'wx' }).catch((error: unknown) => {
      if (!isErrno(error, 'EEXIST')) throw error;
    });
  }

  async #lock(signal: AbortSignal | undefined): Promise<AsyncDisposable> {
    const path = join(this.#folder, lockName);
    for (let waitedMs = 0; ; waitedMs += 50) {
      signal?.throwIfAborted();
      try {
        await writeFile(path, String(process.pid), { flag: 'wx' });
        return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error;
      }
      const held = await stat(path).catch(() => undefined);
      if (held !== undefined && held.mtimeMs < Date.now() - staleLockMs) await rm(path, { force: true });
      if (waitedMs > lockWaitMs) {
        throw new EngineError('Unavailable', 'CACHE_LOCKED', `another process has held ${path} for ${lockWaitMs / 1000} s`, {
          hint: 'Remove it when no other build writes this cache.',
        });
      }
      await sleep(50);
    }
  }

  /** What the manifest before named and none does now, and what crashes left. Manifests of others are looked into; of one that cannot be read everything stays. */
  async #removeUnreferenced(manifests: readonly Descriptor[], before: string | undefined): Promise<void> {
    const named = new Set<string>();
    for (const each of manifests) {
      named.add(each.digest);
      const blobs = await this.#blobsOf(each).catch(() => undefined);
      if (blobs === undefined) return;
      for (const digest of blobs) named.add(digest);
    }
    const dropped = new Set(before === undefined ? [] : [before, ...(await this.#blobsOf({ digest: before }).catch(() => []))]);
    const folder = join(this.#folder, 'blobs/sha256');
    for (const hex of await readdir(folder)) {
      const digest = `sha256:${hex}`;
      if (named.has(digest)) continue;
      const path = join(folder, hex);
      const isStray = ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now()) < Date.now() - strayBlobMs;
      if (dropped.has(digest) || isStray) await rm(path, { force: true });
    }
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      if (name.startsWith('.new-') && ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now()) < Date.now() - strayBlobMs)
        await rm(path, { force: true });
    }
  }

  async #blobsOf(descriptor: { digest: string }): Promise<string[]> {
    const path = this.#path(descriptor);
    const bytes = await readFile(path);
    const document = parseManifestDocument(bytes, { what: path });
    if (document.kind === 'manifest') return [document.manifest.config, ...document.manifest.layers].map(({ digest }) => digest);
    const children = await Promise.all(document.index.manifests.map((each) => this.#blobsOf(each)));
    return [...document.index.manifests.map(({ digest }) => digest), ...children.flat()];
  }
}

async function readRange(file: FileHandle, offset: number, length: number): Promise<Buffer | undefined> {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) return undefined;
    done += bytesRead;
  }
  return bytes;
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new-${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(temporary, bytes, { mode: 0o644, flush: true });
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function syncFile(path: string): Promise<void> {
  await using file = await open(path, 'r+');
  await file.chmod(0o644);
  await file.datasync();
}

function damaged(path: string): EngineError {
  return new EngineError('DataLoss', 'CACHE_DAMAGED', `${path} is damaged`, { hint: 'Remove the cache; the next export makes it anew.' });
}
