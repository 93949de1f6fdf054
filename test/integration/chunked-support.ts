import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { EngineError } from '../../src/base/errors.ts';
import { type Digest, digestOf, parseDigest, sha256 } from '../../src/oci/digest.ts';
import type { Descriptor } from '../../src/oci/image.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import type { TreeRef } from '../../src/store/model.ts';
import type { KnownLayer, Store } from '../../src/store/port.ts';
import type { ChunkedBuild, ChunkedForm } from '../../src/transport/chunked/port.ts';
import type { MadeFrames } from '../../src/transport/frames/model.ts';
import type { LayerTreeResult } from '../../src/transport/layers/layer-tree-job.ts';
import type { ByteRange, FoundManifest, Repository, TransferOptions } from '../../src/transport/registry/port.ts';

/** A repository in memory that counts what goes over the wire. */
export class MemoryRepository implements Repository {
  readonly name = 'registry.test/team/web';
  readonly blobs = new Map<string, Buffer>();
  readonly manifests = new Map<string, FoundManifest>();
  sentBytes = 0;
  /** Called for each part and blob before it is given; may change it or throw. */
  spoil: (digest: string, bytes: Buffer) => Buffer = (_digest, bytes) => bytes;
  /** Digests of blobs that were read, whole or in parts. */
  readonly asked: string[] = [];

  async head(): Promise<undefined> {
    return undefined;
  }

  async manifest(name: string): Promise<FoundManifest> {
    const found = this.manifests.get(name);
    if (found === undefined) throw new EngineError('NotFound', 'MANIFEST_UNKNOWN', `no manifest ${name}`);
    return found;
  }

  async putManifest(): Promise<void> {}
  async deleteManifest(): Promise<void> {}

  async hasBlob(digest: Digest): Promise<boolean> {
    return this.blobs.has(digest);
  }

  async *blob({ digest }: Pick<Descriptor, 'digest'>, options: TransferOptions = {}): AsyncIterable<Uint8Array> {
    yield this.#give(digest, 0, undefined, options);
  }

  async *parts(
    { digest }: Pick<Descriptor, 'digest' | 'size'>,
    ranges: readonly ByteRange[],
    options: TransferOptions = {},
  ): AsyncIterable<{ offset: number; bytes: Buffer }> {
    let end = 0;
    for (const { offset, length } of ranges) {
      if (offset < end || length <= 0) throw new Error(`ranges overlap or are empty: ${offset} ${length} after ${end}`);
      end = offset + length;
      await new Promise(setImmediate);
      options.signal?.throwIfAborted();
      yield { offset, bytes: this.#give(digest, offset, length, options) };
    }
  }

  beginUpload(): never {
    throw new Error('not for this test');
  }

  async upload(): Promise<'uploaded'> {
    return 'uploaded';
  }

  async tags(): Promise<string[]> {
    return [];
  }

  async referrers(): Promise<Descriptor[]> {
    return [];
  }

  #give(digest: string, offset: number, length: number | undefined, { onBytes }: TransferOptions): Buffer {
    const blob = this.blobs.get(digest);
    if (blob === undefined) throw new EngineError('NotFound', 'BLOB_UNKNOWN', `no blob ${digest}`);
    this.asked.push(digest);
    const bytes = this.spoil(digest, Buffer.from(blob.subarray(offset, length === undefined ? undefined : offset + length)));
    this.sentBytes += bytes.length;
    onBytes?.(bytes.length);
    return bytes;
  }
}

/** What a push does with the ordinary layers: one for each tree over the one before. */
export async function makeLayer(
  store: Store,
  before: TreeRef | undefined,
  after: TreeRef,
  compression: 'gzip' | 'zstd' = 'gzip',
): Promise<KnownLayer> {
  const layer = await store.jobs.run<LayerTreeResult>('transport.layer-tree', { before: before?.id, after: after.id });
  const made = await store.jobs.run<MadeFrames>('transport.frames', { items: { kind: 'layer', tree: layer.tree.id }, compression });
  return {
    digest: made.digest,
    diffId: made.diffId,
    mediaType: compression === 'gzip' ? MediaType.ociLayerGzip : MediaType.ociLayerZstd,
    sizeBytes: made.sizeBytes,
    tree: layer.tree.id,
    implied: layer.implied,
    table: made.table,
  };
}

/** Builds the chunked form and puts all that it lists, and the layers, where the repository has them. */
export async function push(
  store: Store,
  form: ChunkedForm,
  repository: MemoryRepository,
  tree: TreeRef,
  layers: readonly KnownLayer[],
  previous?: FoundManifest,
): Promise<{ found: FoundManifest; build: ChunkedBuild; uploaded: number }> {
  const config = Buffer.from(
    JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) } }),
  );
  const descriptor = { mediaType: MediaType.ociConfig, digest: digestOf(sha256(config)), size: config.length };
  const build = await form.build({
    tree,
    config: descriptor,
    layers,
    form: layers.length === 0 ? 'chunked' : 'both',
    previous: previous && { repository, manifest: previous },
  });
  repository.blobs.set(descriptor.digest, config);
  let uploaded = 0;
  for (const { digest } of build.listed) {
    if (repository.blobs.has(digest)) continue;
    const bytes = readFileSync(store.blobs.path(parseDigest(digest)));
    repository.blobs.set(digest, bytes);
    uploaded += bytes.length;
  }
  const { bytes, descriptor: own } = build.manifest;
  const found = { bytes, descriptor: { ...own, digest: parseDigest(own.digest) } };
  return { found, build, uploaded };
}

export function noise(bytes: number, seed: string): Buffer {
  const pieces: Buffer[] = [];
  for (let i = 0; i * 32 < bytes; i++) pieces.push(createHash('sha256').update(`${seed} ${i}`).digest());
  return Buffer.concat(pieces).subarray(0, bytes);
}
