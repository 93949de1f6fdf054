import { EngineError } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Store } from '../../store/port.ts';
import type { GrowingBlobFile } from '../layers/growing-blob.ts';
import { limited } from '../limited.ts';
import type { TransferCallOptions } from '../port.ts';
import type { BegunUpload, BlobSource, Repository } from '../registry/port.ts';
import type { Outgoing, OutgoingBlob } from './outgoing.ts';

const uploadsAtOnce = 4;
/** A registry that cannot mount from the latest places will not from the hundredth. */
const maxMountSources = 3;

type Target = { store: Store; repository: Repository };

/** A blob is neither here nor at any place where it was seen: what lists it has to be made in another way. */
export class BlobGone extends EngineError {
  constructor(digest: Digest, repository: string, cause?: unknown) {
    super('NotFound', 'BLOB_UNKNOWN', `blob ${digest} is neither here nor in ${repository}`, {
      hint: 'Pull or build the image again.',
      cause,
    });
  }
}

/**
 * Brings every blob to the repository, some side by side, then the manifests, and what the tag names last. Nothing names the image before. When the registry misses a blob that it was thought to have, all
 * are asked for once more. Gives the bytes of blobs that were sent.
 */
export async function sendAll(
  target: Target,
  outgoing: Outgoing,
  tag: string,
  options: TransferCallOptions & { early?: EarlyLayers | undefined },
): Promise<number> {
  const { repository } = target;
  const { signal, early } = options;
  const before = await early?.finish();
  const rest = outgoing.blobs.filter(({ descriptor }) => !before?.digests.has(descriptor.digest));
  let sent = (before?.bytes ?? 0) + (await sendBlobs(target, rest, outgoing.there, options));
  const putAll = async () => {
    for (const { digest, bytes, mediaType } of outgoing.manifests) await repository.putManifest(digest, bytes, mediaType, { signal });
    await repository.putManifest(tag, outgoing.top.bytes, outgoing.top.mediaType, { signal });
  };
  try {
    await putAll();
  } catch (error) {
    if (!isBlobMissing(error)) throw error;
    sent += await sendBlobs(target, outgoing.blobs, new Set(), options);
    await putAll();
  }
  return sent;
}

type SendOptions = TransferCallOptions & {
  /** Uploads that were begun while their blobs were made. */
  begun?: ReadonlyMap<Digest, BegunUpload> | undefined;
};

/** Layers that are sent while they, or what goes beside them, are still being made. */
export class EarlyLayers {
  readonly #target: Target;
  readonly #options: TransferCallOptions;
  readonly #there: ReadonlySet<Digest>;
  readonly #cancel = new AbortController();
  readonly #digests = new Set<Digest>();
  readonly #growing: { blob: GrowingBlobFile; upload: BegunUpload }[] = [];
  #sending: Promise<number> | undefined;

  constructor(target: Target, there: ReadonlySet<Digest>, options: TransferCallOptions) {
    this.#target = target;
    this.#there = there;
    this.#options = options;
  }

  /** A layer of which the first bytes are there. */
  follow(blob: GrowingBlobFile): void {
    if (this.#cancel.signal.aborted) return void blob.close();
    this.#growing.push({ blob, upload: this.#target.repository.beginUpload(blob, { signal: this.#signal }) });
  }

  /** All layers, once they are made. */
  begin(blobs: readonly OutgoingBlob[]): void {
    const here = blobs.filter(({ source }) => source !== undefined);
    for (const { descriptor } of here) this.#digests.add(descriptor.digest);
    const begun = new Map<Digest, BegunUpload>();
    for (const { blob, upload } of this.#growing) if (blob.digest !== undefined) begun.set(blob.digest, upload);
    this.#sending = sendBlobs(this.#target, here, this.#there, { ...this.#options, signal: this.#signal, begun });
    this.#sending.catch(() => {}); // it is told by finish, or of no interest after stop
  }

  /** Which, and how many bytes of them were sent. Throws what went wrong. */
  async finish(): Promise<{ digests: ReadonlySet<Digest>; bytes: number }> {
    const bytes = (await this.#sending) ?? 0;
    await this.#close();
    return { digests: this.#digests, bytes };
  }

  /** Ends the sending; whole blobs stay for the next push. */
  async stop(): Promise<void> {
    this.#cancel.abort();
    await this.#sending?.catch(() => undefined);
    await this.#close();
  }

  get #signal(): AbortSignal {
    const { signal } = this.#options;
    return signal === undefined ? this.#cancel.signal : AbortSignal.any([signal, this.#cancel.signal]);
  }

  /** Of an upload that has been gone on with there is nothing left to abandon. */
  async #close(): Promise<void> {
    for (const { blob, upload } of this.#growing.splice(0)) {
      await upload.abandon();
      await blob.close();
    }
  }
}

/** A registry's garbage collector took a blob after it was seen. */
export function isBlobMissing(error: unknown): boolean {
  return error instanceof EngineError && ['MANIFEST_BLOB_UNKNOWN', 'BLOB_UNKNOWN'].includes(error.code);
}

async function sendBlobs(
  target: Target,
  blobs: readonly OutgoingBlob[],
  there: ReadonlySet<Digest>,
  options: SendOptions,
): Promise<number> {
  let bytes = 0;
  for (const { descriptor, shown } of blobs) if (shown) options.onProgress?.({ id: shortName(descriptor.digest), status: 'Preparing' });
  await limited(blobs, uploadsAtOnce, options.signal, async (blob, signal) => {
    const sent = await sendBlob(target, blob, there, { ...options, signal });
    bytes += sent;
  });
  return bytes;
}

async function sendBlob(
  { store, repository }: Target,
  blob: OutgoingBlob,
  there: ReadonlySet<Digest>,
  { signal, onProgress, begun }: SendOptions,
): Promise<number> {
  const { descriptor, shown } = blob;
  const id = shortName(descriptor.digest);
  const tell = (status: string, current?: number) => {
    if (shown) onProgress?.({ id, status, ...(current === undefined ? {} : { current, total: descriptor.size }) });
  };
  if (there.has(descriptor.digest)) {
    tell('Layer already exists');
    return 0;
  }
  const mountFrom = await mountSources(store, repository, blob);
  let bytes = 0;
  const onBytes = (count: number) => {
    bytes += count;
    tell('Pushing', bytes);
  };
  const source = blob.source ?? (await elsewhere(blob, { store, repository, signal }));
  const outcome = await repository.upload(descriptor, source, { signal, onBytes, mountFrom, begun: begun?.get(descriptor.digest) });
  if (outcome === 'present') tell('Layer already exists');
  else if (outcome === 'mounted') tell(`Mounted from ${mountFrom[0]?.slice(mountFrom[0].indexOf('/') + 1) ?? 'another repository'}`);
  else tell('Pushed');
  return bytes;
}

/** Repositories of the same registry where the blob was seen. */
async function mountSources(store: Store, repository: Repository, { descriptor, elsewhere: places }: OutgoingBlob): Promise<string[]> {
  const domain = repository.name.slice(0, repository.name.indexOf('/') + 1);
  const seen = new Set([...(await store.layers.sources(descriptor.digest)), ...places.map(({ name }) => name)]);
  return [...seen].filter((name) => name.startsWith(domain) && name !== repository.name).slice(0, maxMountSources);
}

/** What is not here is read from where it came from while it is sent; where nobody has it, only a registry that has it already will do. */
async function elsewhere(
  { descriptor, elsewhere: places }: OutgoingBlob,
  { store, repository, signal }: Target & { signal: AbortSignal | undefined },
): Promise<BlobSource> {
  for (const place of places) {
    if (place.name === repository.name) continue;
    const found = await place.hasBlob(descriptor.digest, { signal }).catch((error: unknown) => {
      if (signal?.aborted) throw error;
      return false;
    });
    if (found) return { read: (offset) => place.blob(descriptor, { offset, signal }) };
    await store.layers.removeSource(place.name, descriptor.digest);
  }
  return {
    // biome-ignore lint/correctness/useYield: it never has anything to give
    async *read() {
      throw new BlobGone(descriptor.digest, repository.name);
    },
  };
}

export function shortName(digest: string): string {
  return digest.slice('sha256:'.length, 'sha256:'.length + 12);
}
