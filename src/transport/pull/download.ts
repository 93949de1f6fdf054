import { EngineError, isErrno } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { Repository } from '../registry/port.ts';
import { GrowingFile } from '../untar/growing-file.ts';
import type { UnlayerParams, UnlayerProgress, UnlayerResult } from '../untar/layer-job.ts';
import { namedAsDamaged } from './damaged.ts';
import type { PartialFile, PartialFiles } from './partial-files.ts';

/** Written at once: many small writes cost more than the bytes do. */
const batchBytes = 1024 * 1024;

export type LayerDownload = {
  repository: Repository;
  descriptor: Descriptor & { digest: Digest };
  diffId: Digest;
  /** For errors: "layer 2 of web:1". */
  what: string;
  maxPlainBytes?: number | undefined;
};

export type DownloadOptions = {
  lease: Lease;
  signal: AbortSignal;
  /** Of the blob that are here, those of earlier pulls too. */
  onDownloaded(bytes: number): void;
  onExtracted(bytes: number): void;
  onBytes(count: number): void;
};

/**
 * Fetches a layer's blob and unpacks it while it comes. Goes on from what an earlier pull left; when that turns out to be wrong, the blob is fetched once more from its start. Afterwards the blob
 * is one of the store's, and the layer's tree is the lease's.
 */
export async function downloadLayer(
  store: Store,
  files: PartialFiles,
  layer: LayerDownload,
  options: DownloadOptions,
): Promise<UnlayerResult> {
  const file = await files.open(layer.descriptor.digest);
  try {
    let start = file.size;
    if (start > layer.descriptor.size) {
      await file.empty();
      start = 0;
    }
    try {
      return await receive(store, file, start, layer, options);
    } catch (error) {
      if (!isWrongBlob(error)) throw error;
      await file.empty();
      options.onDownloaded(0);
      return await receive(store, file, 0, layer, options);
    }
  } catch (error) {
    // What is there is of no use to anybody: another blob, one that holds no layer, or a full disk.
    if (isWrongBlob(error) || isUseless(error)) await file.remove();
    throw namedAsDamaged(error, layer.what, layer.repository);
  } finally {
    await file.close();
  }
}

async function receive(
  store: Store,
  file: PartialFile,
  start: number,
  layer: LayerDownload,
  options: DownloadOptions,
): Promise<UnlayerResult> {
  const { descriptor, diffId, what, maxPlainBytes } = layer;
  const growing = new GrowingFile();
  growing.grow(start);
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const params: UnlayerParams = { file: file.path, growing: growing.shared, what, digest: descriptor.digest, diffId, maxPlainBytes };
  const unpacking = store.jobs.run<UnlayerResult>('transport.unlayer', params, {
    signal: options.signal,
    lease: options.lease,
    // It waits for the network, so it must not keep others from their work.
    lane: 'stream',
    onProgress: (progress) => options.onExtracted((progress as UnlayerProgress).bytes),
  });
  // A layer that cannot be unpacked need not be fetched further.
  unpacking.catch((error: unknown) => stop.abort(error));
  try {
    await transfer(file, start, layer, growing, { ...options, signal });
    growing.end();
  } catch (error) {
    growing.fail();
    const failure = await unpacking.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    throw isCauseOf(failure, options.signal) ? failure : error;
  }
  const result = await unpacking;
  await options.lease.add('blob', descriptor.digest);
  await file.publish();
  return result;
}

/** Whether the job failed by itself, and not because its bytes did not come. */
function isCauseOf(failure: unknown, signal: AbortSignal): boolean {
  return failure instanceof EngineError && failure.code !== 'DOWNLOAD_FAILED' && !signal.aborted;
}

async function transfer(file: PartialFile, start: number, layer: LayerDownload, growing: GrowingFile, options: DownloadOptions) {
  const { repository, descriptor, what } = layer;
  let here = start;
  let batch: Uint8Array[] = [];
  let batched = 0;
  const flush = async () => {
    await file.append(batch);
    here += batched;
    batch = [];
    batched = 0;
    growing.grow(here);
    options.onDownloaded(here);
  };
  options.onDownloaded(here);
  if (here === descriptor.size) return;
  const stream = repository.blob(descriptor, { offset: start, signal: options.signal, onBytes: options.onBytes });
  try {
    for await (const chunk of stream) {
      options.signal.throwIfAborted();
      batch.push(chunk);
      batched += chunk.length;
      if (here + batched > descriptor.size) throw wrongSize(what, descriptor, here + batched);
      if (batched >= batchBytes) await flush();
    }
  } finally {
    // What came is for the next pull, however this one ends.
    if (here + batched <= descriptor.size) await flush();
  }
  options.signal.throwIfAborted();
  if (here < descriptor.size) {
    throw new EngineError('Unavailable', 'REGISTRY_FAILED', `${what}: ${repository.name} sent ${here} of its ${descriptor.size} bytes`, {
      hint: 'Pull again: it goes on from there.',
    });
  }
}

function wrongSize(what: string, { digest, size }: Descriptor, received: number): EngineError {
  const message = `${what} is not what its manifest says: blob ${digest} has ${size} bytes, received ${received} or more`;
  return new EngineError('DataLoss', 'BLOB_SIZE_MISMATCH', message, { hint: 'Pull it again, or ask who pushed it.' });
}

/** Its bytes are not those that its digest names. */
function isWrongBlob(error: unknown): boolean {
  return error instanceof EngineError && ['BLOB_DAMAGED', 'BLOB_DIGEST_MISMATCH', 'BLOB_SIZE_MISMATCH'].includes(error.code);
}

function isUseless(error: unknown): boolean {
  if (error instanceof EngineError) return error.kind === 'InvalidArgument' || error.kind === 'NoSpace' || error.code === 'LAYER_DAMAGED';
  return isErrno(error, 'ENOSPC', 'EDQUOT');
}
