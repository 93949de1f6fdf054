import type { Digest } from '../oci/digest.ts';
import type { DatabaseClient } from './database/client.ts';
import type { KnownLayer, Layers } from './port.ts';

/** What is known of layers, in the metadata database. */
export class StoredLayers implements Layers {
  readonly #database: DatabaseClient;

  constructor(database: DatabaseClient) {
    this.#database = database;
  }

  get(digest: Digest): Promise<KnownLayer | undefined> {
    return this.#database.call('layerByDigest', digest);
  }

  byDiffId(diffId: Digest): Promise<KnownLayer[]> {
    return this.#database.call('layersByDiffId', diffId);
  }

  put(layer: KnownLayer): Promise<void> {
    return this.#database.call('putLayer', layer);
  }

  sources(blob: Digest): Promise<string[]> {
    return this.#database.call('blobSources', blob);
  }

  addSources(repository: string, blobs: readonly Digest[]): Promise<void> {
    return this.#database.call('addBlobSources', repository, blobs);
  }

  removeSource(repository: string, blob: Digest): Promise<void> {
    return this.#database.call('removeBlobSource', repository, blob);
  }
}
