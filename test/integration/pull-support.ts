import { gzipSync } from 'node:zlib';
import { EngineError } from '../../src/base/errors.ts';
import { type Digest, digestOf, sha256 } from '../../src/oci/digest.ts';
import type { Descriptor } from '../../src/oci/image.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import { parseReference } from '../../src/oci/reference.ts';
import type { Store } from '../../src/store/port.ts';
import type { PullRequest, TransferProgress } from '../../src/transport/port.ts';
import type { FoundManifest, Repository, TransferOptions } from '../../src/transport/registry/port.ts';
import { writeTar } from '../contracts/tar.ts';

export type Member = Parameters<typeof writeTar>[0][number];
type Source = (bytes: Buffer, offset: number, signal: AbortSignal | undefined) => AsyncIterable<Uint8Array>;

export function digestOfBytes(bytes: Uint8Array): Digest {
  return digestOf(sha256(bytes));
}

/** A repository in memory, for what no real registry would give. Writing is not for it. */
export class FakeRepository implements Repository {
  readonly name: string;
  readonly blobs = new Map<string, Buffer>();
  readonly manifests = new Map<string, { bytes: Buffer; mediaType: string }>();
  /** What was asked for: `manifest latest`, `blob sha256:… from 0`. */
  readonly asked: string[] = [];
  /** How the next readings of a blob go wrong, by its digest; each is used once. */
  readonly faults = new Map<string, Source[]>();
  /** Bytes of blobs in one piece. */
  pieceBytes = 16 * 1024;

  constructor(name = 'registry.example/team/web') {
    this.name = name;
  }

  putBlob(bytes: Buffer, mediaType: string): Descriptor & { digest: Digest } {
    const digest = digestOfBytes(bytes);
    this.blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  }

  put(document: object | Buffer, mediaType: string, tag?: string): Descriptor & { digest: Digest } {
    const bytes = Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document));
    const digest = digestOfBytes(bytes);
    this.manifests.set(digest, { bytes, mediaType });
    if (tag !== undefined) this.manifests.set(tag, { bytes, mediaType });
    return { mediaType, digest, size: bytes.length };
  }

  async manifest(name: string): Promise<FoundManifest> {
    this.asked.push(`manifest ${name}`);
    const found = this.manifests.get(name);
    if (found === undefined) throw new EngineError('NotFound', 'MANIFEST_UNKNOWN', `${this.name} has no manifest ${name}`);
    const { bytes, mediaType } = found;
    return { descriptor: { mediaType, digest: digestOfBytes(bytes), size: bytes.length }, bytes };
  }

  async *blob({ digest }: Pick<Descriptor, 'digest'>, { offset = 0, signal, onBytes }: TransferOptions & { offset?: number } = {}) {
    this.asked.push(`blob ${digest} from ${offset}`);
    const bytes = this.blobs.get(digest);
    if (bytes === undefined) throw new EngineError('NotFound', 'BLOB_UNKNOWN', `${this.name} has no blob ${digest}`);
    const source = this.faults.get(digest)?.shift() ?? ((whole, from) => pieces(whole.subarray(from), this.pieceBytes));
    for await (const chunk of source(bytes, offset, signal)) {
      signal?.throwIfAborted();
      onBytes?.(chunk.length);
      yield chunk;
    }
  }

  /** Readings of blobs, of one or of all. */
  reads(digest = ''): string[] {
    return this.asked.filter((line) => line.startsWith(`blob ${digest}`));
  }

  async head(name: string) {
    return this.manifests.has(name) ? (await this.manifest(name)).descriptor : undefined;
  }
  async hasBlob(digest: Digest) {
    return this.blobs.has(digest);
  }
  async tags() {
    return [...this.manifests.keys()].filter((name) => !name.startsWith('sha256:'));
  }
  async referrers() {
    return [];
  }
  parts(): never {
    throw new Error('ordinary pulls read no parts');
  }
  beginUpload(): never {
    throw new Error('not for this test');
  }

  async upload(): Promise<never> {
    throw new Error('pulls upload nothing');
  }
  async putManifest(): Promise<never> {
    throw new Error('pulls put nothing');
  }
  async deleteManifest(): Promise<never> {
    throw new Error('pulls delete nothing');
  }
}

export async function* pieces(bytes: Buffer, pieceBytes = 16 * 1024): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

export type FakeLayer = { blob: Buffer; diffId: Digest; mediaType: string };

export function layer(
  members: Member[],
  compress: (tar: Buffer) => Buffer = gzipSync,
  mediaType: string = MediaType.ociLayerGzip,
): FakeLayer {
  const tar = writeTar(members);
  return { blob: compress(tar), diffId: digestOfBytes(tar), mediaType };
}

export type FakeImage = {
  manifest: Descriptor & { digest: Digest };
  layers: (Descriptor & { digest: Digest })[];
  config: Descriptor & { digest: Digest };
};

/** Puts an image of these layers into the repository. `over` goes into the manifest, `config` into the config. */
export function putImage(
  repository: FakeRepository,
  layers: FakeLayer[],
  { tag, over = {}, config = {} }: { tag?: string; over?: object; config?: object } = {},
): FakeImage {
  const descriptors = layers.map(({ blob, mediaType }) => repository.putBlob(blob, mediaType));
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const document = {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/bin/sh'] },
    rootfs,
    history: [{ created_by: 'test' }],
    ...config,
  };
  const configDescriptor = repository.putBlob(Buffer.from(JSON.stringify(document)), MediaType.ociConfig);
  const manifest = { schemaVersion: 2, mediaType: MediaType.ociManifest, config: configDescriptor, layers: descriptors, ...over };
  return { manifest: repository.put(manifest, MediaType.ociManifest, tag), layers: descriptors, config: configDescriptor };
}

export function request(text: string, over: Partial<PullRequest> = {}): PullRequest {
  return { reference: parseReference(text), ...over };
}

export function recorder(): {
  said: TransferProgress[];
  onProgress: (progress: TransferProgress) => void;
  statuses(id?: string): string[];
} {
  const said: TransferProgress[] = [];
  return {
    said,
    onProgress: (progress) => said.push(progress),
    statuses: (id) => said.filter((each) => id === undefined || each.id === id).map(({ status }) => status),
  };
}

/** Names of everything that is visible: tags and images. */
export async function visible(store: Store): Promise<string[]> {
  return (await store.images.list()).flatMap(({ record, references }) => [record.id, ...references]);
}
