import { randomBytes } from 'node:crypto';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import { invalidForm } from '../chunked/errors.ts';
import { Fetcher } from '../chunked/fetcher.ts';
import { maxHeadBytes } from '../chunked/head.ts';
import { ChunkedType } from '../chunked/port.ts';
import type { FetchRequest, RemoteBlob } from '../chunked/remote.ts';
import type { CollectionBuildParams, CollectionBuildResult } from './build-job.ts';
import type { CollectionFetchParams, CollectionFetchProgress } from './fetch-job.ts';
import type { CollectionBuild, CollectionPlace, TreeCollections } from './port.ts';

type RunOptions = { lease: Lease; signal?: AbortSignal | undefined; onBytes?: ((received: number) => void) | undefined };

/** Collections of trees, over jobs that think and a fetcher that fetches what they ask for. */
export class StoreTreeCollections implements TreeCollections {
  readonly #store: Store;
  /** ../chunked/remote.ts */
  readonly #owner = randomBytes(6).toString('hex');

  constructor(store: Store) {
    this.#store = store;
  }

  async build(
    { trees, previous }: Parameters<TreeCollections['build']>[0],
    options: Parameters<TreeCollections['build']>[1],
  ): Promise<CollectionBuild> {
    const blobs = previous === undefined ? [] : remoteBlobs(previous.blobs, previous.place.name);
    const head = previous === undefined ? undefined : await this.#head(previous.place, blobs, options);
    const result = await this.#run<CollectionBuildResult, Omit<CollectionBuildParams, 'channel'>>(
      'transport.collection-build',
      {
        trees,
        empty: this.#store.trees.empty.id,
        previous: head === undefined || previous === undefined ? undefined : { head, blobs, trees: previous.trees },
      },
      previous?.place,
      options,
    );
    const made = new Set(result.made);
    for (const digest of made) await options.lease.add('blob', digest);
    return {
      blobs: result.blobs,
      trees: result.trees,
      made: result.blobs.filter(({ digest }) => made.has(digest)),
      sizes: new Map(result.sizes),
    };
  }

  async fetch(
    { place, blobs: listed, tree, near = [] }: Parameters<TreeCollections['fetch']>[0],
    options: Parameters<TreeCollections['fetch']>[1],
  ): Promise<TreeRef> {
    const blobs = remoteBlobs(listed, place.name);
    const head = await this.#head(place, blobs, options);
    const params = { what: place.name, head, blobs, tree: tree.id, packs: tree.packs, near };
    return await this.#run<TreeRef, Omit<CollectionFetchParams, 'channel'>>(
      'transport.collection-fetch',
      params,
      place,
      options,
      options.onPlan,
    );
  }

  /** The head is kept among the store's blobs: the next build with the same one has it. */
  async #head(place: CollectionPlace, [head]: readonly RemoteBlob[], { signal, lease }: RunOptions): Promise<Digest> {
    if (head?.mediaType !== ChunkedType.head || head.size > maxHeadBytes) throw invalidForm(place.name, 'its first blob is not a head');
    const { blobs } = this.#store;
    await lease.add('blob', head.digest);
    if (!(await blobs.has(head.digest))) {
      const expected = { digest: head.digest, sizeBytes: head.size };
      await blobs.put(place.blob(head, { signal }), expected, signal === undefined ? {} : { signal });
    }
    return head.digest;
  }

  async #run<R, P extends object>(
    name: string,
    params: P,
    place: CollectionPlace | undefined,
    { signal, lease, onBytes }: RunOptions,
    onPlan?: (plan: { bytes: number }) => void,
  ): Promise<R> {
    const fetcher = new Fetcher(place, this.#store.blobs, { signal, onBytes });
    const onProgress = (message: unknown) => {
      const said = message as FetchRequest | CollectionFetchProgress | { kind?: undefined };
      if (said.kind === 'ranges' || said.kind === 'whole') fetcher.take(said);
      else if (said.kind === 'planned') onPlan?.({ bytes: said.bytes });
    };
    try {
      // It waits for the network.
      const options = { signal, lease, lane: 'stream', onProgress } as const;
      return await this.#store.jobs.run<R>(name, { ...params, channel: { state: fetcher.shared, owner: this.#owner } }, options);
    } catch (error) {
      throw fetcher.reasonOf(error);
    } finally {
      await fetcher.end();
    }
  }
}

function remoteBlobs(listed: readonly Descriptor[], what: string): RemoteBlob[] {
  return listed.map(({ digest, size, mediaType }) => {
    if (!Number.isSafeInteger(size) || size < 0) throw invalidForm(what, `blob ${digest} is said to have ${size} bytes`);
    return { digest: parseDigest(digest), size, mediaType };
  });
}
