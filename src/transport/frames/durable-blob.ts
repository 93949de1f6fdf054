import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Digest, digestOf, type Hex, hexOf, newHash } from '../../oci/digest.ts';
import type { TreeContext } from '../../store/port.ts';

/** A blob while a job writes it, in the job's own folder: nobody sees it before `publish`, and nothing is left of it when it is closed before that. */
export class BlobFile {
  readonly #context: TreeContext;
  readonly path: string;
  readonly #fd: number;
  readonly #hash = newHash();
  #open = true;
  sizeBytes = 0;

  /** `name` is for whoever looks into the folder. */
  constructor(context: TreeContext, name = 'blob') {
    this.#context = context;
    this.path = join(context.tmpDir, `${name}-${randomBytes(8).toString('hex')}`);
    this.#fd = openSync(this.path, 'wx', 0o444);
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    this.#hash.update(bytes);
    this.sizeBytes += bytes.length;
  }

  /** Makes it durable, then visible under its digest. */
  publish(): Digest {
    const digest = digestOf(this.#hash.digest('hex') as Hex);
    const folder = join(this.#context.paths.blobs, 'sha256');
    const place = join(folder, hexOf(digest));
    if (existsSync(place)) {
      this.close();
      return digest;
    }
    fsyncSync(this.#fd);
    renameSync(this.path, place);
    // The name too: after a power cut a rename may vanish though the data survived.
    const directory = openSync(folder, 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
    this.close();
    return digest;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
    // Nothing is there after a rename.
    rmSync(this.path, { force: true });
  }
}
