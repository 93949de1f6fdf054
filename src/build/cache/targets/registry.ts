import { createReadStream } from 'node:fs';
import { EngineError } from '../../../base/errors.ts';
import { digestOf, sha256 } from '../../../oci/digest.ts';
import { MediaType } from '../../../oci/media-types.ts';
import type { Repository } from '../../../transport/registry/port.ts';
import type { CacheTarget, TargetBlob, TargetManifest, TargetOptions } from './port.ts';

/** A cache under a tag of a repository. Registries have no compare-and-swap: the tag is looked at right before and right after it is moved. */
export class RegistryTarget implements CacheTarget {
  readonly name: string;
  readonly #repository: Repository;
  readonly #tag: string;

  constructor({ repository, tag }: { repository: Repository; tag: string }) {
    this.name = `${repository.name}:${tag}`;
    this.#repository = repository;
    this.#tag = tag;
  }

  async read(options: TargetOptions): Promise<TargetManifest | undefined> {
    try {
      const { bytes, descriptor } = await this.#repository.manifest(this.#tag, options);
      return { bytes, version: descriptor.digest };
    } catch (error) {
      if (error instanceof EngineError && error.kind === 'NotFound') return undefined;
      throw error;
    }
  }

  async write(manifest: Buffer, { version }: Parameters<CacheTarget['write']>[1], options: TargetOptions): Promise<boolean> {
    if ((await this.#current(options)) !== version) return false;
    await this.#repository.putManifest(this.#tag, manifest, MediaType.ociManifest, options);
    return (await this.#current(options)) === digestOf(sha256(manifest));
  }

  has({ digest }: TargetBlob, options: TargetOptions): Promise<boolean> {
    return this.#repository.hasBlob(digest, options);
  }

  async upload(blob: TargetBlob, file: string, options: TargetOptions): Promise<void> {
    await this.#repository.upload(blob, { read: (offset) => createReadStream(file, { start: offset }) }, options);
  }

  blob(...args: Parameters<CacheTarget['blob']>): ReturnType<CacheTarget['blob']> {
    return this.#repository.blob(...args);
  }

  parts(...args: Parameters<CacheTarget['parts']>): ReturnType<CacheTarget['parts']> {
    return this.#repository.parts(...args);
  }

  async #current(options: TargetOptions): Promise<string | undefined> {
    return (await this.#repository.head(this.#tag, options))?.digest;
  }
}
