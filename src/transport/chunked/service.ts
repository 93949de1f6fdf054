import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { EngineError } from '../../base/errors.ts';
import { maxConfigBytes } from '../../oci/config.ts';
import { parseDigest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { KnownLayer, Store } from '../../store/port.ts';
import type { FoundManifest, Repository } from '../registry/port.ts';
import type { UnlayerResult } from '../untar/layer-job.ts';
import type { ChunkedBuildParams, ChunkedBuildResult } from './build-job.ts';
import { invalidDeltaCode, invalidForm, isFallback } from './errors.ts';
import { Fetcher, orInvalid } from './fetcher.ts';
import { decodeHead } from './head.ts';
import { type ChunkedManifest, encodeManifest, readManifest } from './manifest.ts';
import type {
  ChunkedBuild,
  ChunkedBuildRequest,
  ChunkedForm,
  ChunkedOptions,
  ChunkedPulled,
  ChunkedPullOptions,
  HeadLayer,
} from './port.ts';
import type { ChunkedPullParams, ChunkedPullProgress, ChunkedPullResult, ImportedLayer } from './pull-job.ts';
import type { FetchRequest } from './remote.ts';

/** The chunked form, over jobs that think and a fetcher that fetches what they ask for. */
export class StoreChunkedForm implements ChunkedForm {
  readonly #store: Store;
  /** remote.ts */
  readonly #owner = randomBytes(6).toString('hex');

  constructor(store: Store) {
    this.#store = store;
  }

  async build(request: ChunkedBuildRequest, options: ChunkedOptions = {}): Promise<ChunkedBuild> {
    if (request.previous === undefined) return this.#build(request, undefined, [], options);
    try {
      const previous = await this.#previous(request.previous, options);
      return await this.#build(await this.#withTimesOf(previous, request, options), previous, [], options);
    } catch (error) {
      if (!isFallback(error)) throw error;
      return this.#build(request, undefined, [`the chunked form that the tag has cannot be gone on from: ${error.message}`], options);
    }
  }

  /**
   * Without ordinary layers, whose plan does the same: what has the same content as in the version before takes its times, or a checkout on another machine would change every entry. That
   * version may be one that was never here: its entries are enough.
   */
  async #withTimesOf(
    previous: NonNullable<ChunkedBuildParams['previous']>,
    request: ChunkedBuildRequest,
    options: ChunkedOptions,
  ): Promise<ChunkedBuildRequest> {
    if (request.form !== 'chunked' || request.previous === undefined) return request;
    const { repository } = request.previous;
    const params = { what: repository.name, ...previous, near: [request.tree.id], want: 'tree' as const, deltas: false };
    const { result } = await this.#run<ChunkedPullResult, Omit<ChunkedPullParams, 'channel'>>(
      'transport.chunked-pull',
      params,
      repository,
      options,
    );
    if (result.kind !== 'done' || result.tree === undefined || result.tree.id === request.tree.id) return request;
    const { signal, lease } = options;
    const tree = await this.#store.trees.adopt(request.tree.id, result.tree.id, { signal, lease });
    await lease?.add('tree', tree.id);
    return { ...request, tree };
  }

  async #build(
    { tree, layers, form, config, previous: from }: ChunkedBuildRequest,
    previous: ChunkedBuildParams['previous'],
    explanation: readonly string[],
    options: ChunkedOptions,
  ): Promise<ChunkedBuild> {
    const { result } = await this.#run<ChunkedBuildResult, Omit<ChunkedBuildParams, 'channel'>>(
      'transport.chunked-build',
      { tree: tree.id, layers: layers.map(plainLayer), form, previous },
      from?.repository,
      options,
    );
    const made = new Set(result.made);
    const blobs = result.layers.filter(({ digest }) => made.has(digest));
    for (const { digest } of blobs) await options.lease?.add('blob', digest);
    return {
      manifest: encodeManifest(config, result.layers),
      listed: [config, ...result.layers],
      blobs,
      explanation: [...explanation, ...result.explanation],
      bytes: blobs.reduce((sum, { size }) => sum + size, 0),
    };
  }

  async pull(repository: Repository, found: FoundManifest, options: ChunkedPullOptions = {}): Promise<ChunkedPulled> {
    const what = `the chunked manifest ${found.descriptor.digest} of ${repository.name}`;
    const document = readManifest(found, what);
    const id = found.descriptor.digest.slice(7, 19);
    options.onProgress?.({ id, status: 'Pulling chunks' });
    let bytesReceived = 0;
    const onBytes = (count: number) => {
      bytesReceived += count;
    };
    const [config] = await Promise.all([
      this.#small(repository, document.manifest.config, maxConfigBytes, options, onBytes),
      this.#small(repository, document.head, Number.MAX_SAFE_INTEGER, options, onBytes),
    ]);
    const params = {
      what: repository.name,
      head: document.head.digest,
      blobs: document.blobs,
      near: options.near ?? [],
      want: 'image' as const,
      deltas: true,
    };
    for (let attempt = 0; ; attempt++) {
      const { result, received } = await this.#pullWith(params, repository, options, id);
      bytesReceived += received;
      if (result.kind === 'done' && result.tree !== undefined) {
        options.onProgress?.({ id, status: 'Pull complete' });
        return { tree: result.tree, config, manifest: document.manifest, bytesReceived };
      }
      if (result.kind === 'done' || attempt > 0) throw invalidForm(what, 'content of it is in none of its blobs');
      for (const place of result.layers) bytesReceived += await this.#unpackLayer(repository, document, place, options);
    }
  }

  /** A delta that is of no use costs no more than the plain chunks. */
  async #pullWith(params: Omit<ChunkedPullParams, 'channel'>, repository: Repository, options: ChunkedPullOptions, id: string) {
    const run = (deltas: boolean) =>
      this.#run<ChunkedPullResult, Omit<ChunkedPullParams, 'channel'>>(
        'transport.chunked-pull',
        { ...params, deltas },
        repository,
        options,
        id,
      );
    try {
      return await run(params.deltas);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== invalidDeltaCode) throw error;
      return await run(false);
    }
  }

  async layersOf(repository: Repository, found: FoundManifest, options: ChunkedOptions = {}): Promise<HeadLayer[]> {
    const document = readManifest(found, `the chunked manifest ${found.descriptor.digest} of ${repository.name}`);
    await this.#small(repository, document.head, Number.MAX_SAFE_INTEGER, options);
    const params = {
      what: repository.name,
      head: document.head.digest,
      blobs: document.blobs,
      near: [],
      want: 'layers' as const,
      deltas: false,
    };
    const { result } = await this.#run<ChunkedPullResult, Omit<ChunkedPullParams, 'channel'>>(
      'transport.chunked-pull',
      params,
      repository,
      options,
    );
    return result.kind === 'done' ? this.#headLayers(document, result.layers) : [];
  }

  /** What the tag has now, its head fetched when it is not here. */
  async #previous(
    { repository, manifest }: NonNullable<ChunkedBuildRequest['previous']>,
    options: ChunkedOptions,
  ): Promise<NonNullable<ChunkedBuildParams['previous']>> {
    const { head, blobs } = readManifest(manifest, `the chunked manifest of ${repository.name}`);
    await this.#small(repository, head, Number.MAX_SAFE_INTEGER, options);
    return { head: head.digest, blobs };
  }

  /** A blob that is read whole, out of the store's or fetched into them. */
  async #small(
    repository: Repository,
    { digest: text, size, mediaType }: Descriptor,
    limit: number,
    { signal, lease }: ChunkedOptions,
    onBytes?: (count: number) => void,
  ): Promise<Buffer> {
    const digest = parseDigest(text);
    if (size > limit) throw invalidForm(`blob ${digest}`, `it has ${size} bytes, more than ${limit}`);
    const { blobs } = this.#store;
    await lease?.add('blob', digest);
    try {
      const source = repository.blob({ digest, size }, { signal, onBytes });
      if (!(await blobs.has(digest))) await blobs.put(source, { digest, sizeBytes: size }, signal === undefined ? {} : { signal });
    } catch (error) {
      throw orInvalid(error, { digest, mediaType });
    }
    return readFile(blobs.path(digest));
  }

  /** Runs a job that asks for bytes of the repository by its progress. */
  async #run<R, P extends object>(
    name: string,
    params: P,
    repository: Repository | undefined,
    options: ChunkedOptions,
    id?: string,
  ): Promise<{ result: R; received: number }> {
    const { signal, lease, onProgress } = options;
    // Without an id there is no line of progress to put it on: a push that reads a few tables of the version before.
    const onBytes = (current: number, total: number) => id === undefined || onProgress?.({ id, status: 'Downloading', current, total });
    const fetcher = new Fetcher(repository, this.#store.blobs, { signal, onBytes });
    const progress = (message: FetchRequest | ChunkedPullProgress | { kind?: undefined }) => {
      if (message.kind === 'ranges' || message.kind === 'whole') fetcher.take(message);
      else if (message.kind === 'assembled') onProgress?.({ id, status: 'Extracting', current: message.bytes, total: message.total });
    };
    try {
      const result = await this.#store.jobs.run<R>(
        name,
        { ...params, channel: { state: fetcher.shared, owner: this.#owner } },
        // It waits for the network.
        { signal, lease, lane: 'stream', onProgress: (message) => progress(message as FetchRequest) },
      );
      return { result, received: fetcher.bytesReceived };
    } catch (error) {
      throw fetcher.reasonOf(error);
    } finally {
      await fetcher.end();
    }
  }

  async #headLayers({ head, blobs }: ChunkedManifest, imported: readonly ImportedLayer[]): Promise<HeadLayer[]> {
    const { layers, packs } = decodeHead(await readFile(this.#store.blobs.path(head.digest)), blobs);
    const tables = new Map(packs.map(({ blob, table }) => [blob, table === undefined ? undefined : blobs[table]]));
    return layers.flatMap(({ blob, diffId, implied }, index) => {
      const [listed, here, table] = [blobs[blob], imported[index], tables.get(blob)];
      if (listed === undefined || here === undefined) return [];
      const { digest, mediaType, size } = listed;
      return [
        {
          digest,
          diffId,
          mediaType,
          sizeBytes: size,
          tree: here.id,
          implied,
          whole: here.whole,
          ...(table === undefined ? {} : { table: { digest: table.digest, sizeBytes: table.size } }),
        },
      ];
    });
  }

  /** A layer that was made elsewhere has no table: all of it is fetched and unpacked, and its files are here then. */
  async #unpackLayer(repository: Repository, { blobs }: ChunkedManifest, place: number, options: ChunkedPullOptions): Promise<number> {
    const blob = blobs[place];
    if (blob === undefined) return 0;
    let received = 0;
    await this.#small(repository, blob, Number.MAX_SAFE_INTEGER, options, (count) => {
      received += count;
      options.onProgress?.({ id: blob.digest.slice(7, 19), status: 'Downloading', current: received, total: blob.size });
    });
    const { signal, lease } = options;
    const params = { file: this.#store.blobs.path(blob.digest), what: `layer ${blob.digest}`, digest: blob.digest };
    const unpacked = await this.#store.jobs.run<UnlayerResult>('transport.unlayer', params, { signal, lease });
    if (unpacked.kind === 'needsLower') throw invalidForm(`layer ${blob.digest}`, unpacked.problem);
    return received;
  }
}

function plainLayer({ digest, sizeBytes, mediaType, diffId, tree, implied, table }: KnownLayer): ChunkedBuildParams['layers'][number] {
  return { digest, sizeBytes, mediaType, diffId, tree, implied: [...implied], table };
}
