import { EngineError } from '../../base/errors.ts';
import type { Platform } from '../../oci/image.ts';
import { canonical, type Reference, repositoryOf } from '../../oci/reference.ts';
import type { Lease } from '../../store/port.ts';
import { showBytes } from '../layers/explain.ts';
import type { ImageForm, LayerChoice, PushedImage, PushRequest, TransferCallOptions } from '../port.ts';
import type { Repository } from '../registry/port.ts';
import { type Destination, lookAt } from './destination.ts';
import { asBefore, isOneWithIndex } from './kept.ts';
import { aroundOrigin, type Making, type MakingParts, make, plan } from './made.ts';
import type { Outgoing } from './outgoing.ts';
import { EarlyLayers, isBlobMissing, sendAll, shortName } from './upload.ts';

type Push = { parts: MakingParts; request: PushRequest; repository: Repository; tag: string; lease: Lease; options: TransferCallOptions };

/**
 * Pushes an image: as it was pulled or pushed before where nothing else is asked for, else made of its tree beside what the tag has now. Nothing is remembered before the tag is set; a push that is cut
 * off leaves whole blobs in the registry, which the next one finds there.
 */
export async function pushImage(parts: MakingParts, request: PushRequest, options: TransferCallOptions): Promise<PushedImage> {
  const { reference, auth } = request;
  const { tag } = reference;
  if (tag === undefined) throw new EngineError('InvalidArgument', 'TAG_MISSING', `${canonical(reference)} has no tag to push it as`);
  const repository = parts.registries.repository(reference, { auth, actions: 'pull,push' });
  await using lease = await parts.store.leases.acquire({ purpose: 'push' });
  await lease.add('image', request.image.id);
  const push: Push = { parts, request, repository, tag, lease, options };
  const kept = isFree(request)
    ? await asBefore(parts, request, { ...options, index: request.form !== 'oci' || isOneWithIndex(request.image) })
    : undefined;
  if (kept !== undefined) {
    if (request.explainOnly) return told(kept, 0);
    try {
      return await deliver(push, kept, await unlessThere(push, kept));
    } catch (error) {
      // A part of it is nowhere any more: then it is made anew.
      if (!isBlobMissing(error)) throw error;
    }
  }
  // Awaited: the lease has to last until then.
  return await pushMade(push);
}

/** Whether what went before will do for what is asked now. */
function isFree({ layers, compression, form, image }: PushRequest): boolean {
  if (layers !== undefined || compression !== undefined) return false;
  return form === undefined || form === 'oci' || (form === 'both' && image.origin?.index !== undefined);
}

async function pushMade(push: Push): Promise<PushedImage> {
  const { parts, request, repository, tag, lease, options } = push;
  const { image } = request;
  const destination = await lookAt(parts, repository, { tag, platform: platformOf(image.config), lease }, options);
  const form: ImageForm = request.form ?? 'both';
  const making: Making = {
    image,
    repository,
    destination,
    form,
    choice: request.layers ?? (await likelyChoice(push)),
    compression: request.compression ?? 'gzip',
    lease,
  };
  if (request.explainOnly) return explain(push, making);
  const early = new EarlyLayers({ store: parts.store, repository }, destination.there, options);
  try {
    const told: Making = { ...making, onGrowing: (blob) => early.follow(blob), onLayers: (layers) => early.begin(layers) };
    const outgoing = (await besideOrigin(push, told)) ?? (await make(parts, told, options));
    return await deliver(push, outgoing, destination.tagged, early);
  } catch (error) {
    await early.stop();
    if (!isBlobMissing(error) || form === 'chunked') throw error;
    // A layer that was to be kept is gone from everywhere: all is made of what is here.
    const alone: Destination = { tagged: destination.tagged, candidates: [], previous: undefined, there: new Set() };
    return deliver(push, await make(parts, { ...making, destination: alone, choice: { kind: 'single' } }, options), destination.tagged);
  }
}

/** An image that came as a file keeps its layers, compressed; any other gets adaptive ones. */
async function likelyChoice({ parts, request, options, lease }: Push): Promise<LayerChoice> {
  const { image } = request;
  if (image.origin === undefined || image.origin.layers.length === 0) return { kind: 'adaptive' };
  const steps = await parts.layers.stepsOf(image, { signal: options.signal, lease });
  return steps === undefined ? { kind: 'adaptive' } : { kind: 'per-step' };
}

/** What a registry has under that manifest stays as it is, when the chunked form is asked for beside it. */
async function besideOrigin({ parts, request, options }: Push, making: Making): Promise<Outgoing | undefined> {
  const { image, layers, compression } = request;
  if (image.origin === undefined || layers !== undefined || compression !== undefined || making.form !== 'both') return undefined;
  const references = await parts.store.images.references(image.id);
  const { manifestDigest } = image.origin;
  return references.some((name) => name.endsWith(`@${manifestDigest}`)) ? aroundOrigin(parts, making, options) : undefined;
}

async function explain({ parts, options }: Push, making: Making): Promise<PushedImage> {
  const { explanation, layers } = await plan(parts, making, options);
  const bytes = layers.reduce((sum, layer) => sum + (layer.kind === 'new' ? layer.bytes : 0), 0);
  const { tagged } = making.destination;
  const manifest = tagged?.descriptor ?? { mediaType: '', digest: '', size: 0 };
  const lines = [...explanation, `new layers: ${showBytes(bytes)} of files before compression`];
  return { digest: manifest.digest as PushedImage['digest'], manifest, sizeBytes: 0, bytesSent: 0, explanation: lines };
}

async function unlessThere({ repository, tag, options }: Push, { top }: Outgoing) {
  const head = await repository.head(tag, { signal: options.signal });
  return head?.digest === top.digest ? { descriptor: head, bytes: top.bytes } : undefined;
}

async function deliver(push: Push, outgoing: Outgoing, tagged: Destination['tagged'], early?: EarlyLayers): Promise<PushedImage> {
  const { parts, repository, tag, options } = push;
  if (tagged?.descriptor.digest === outgoing.top.digest) {
    await early?.stop();
    for (const { descriptor, shown } of outgoing.blobs)
      if (shown) options.onProgress?.({ id: shortName(descriptor.digest), status: 'Layer already exists' });
    await remember(push, outgoing);
    return told(outgoing, 0);
  }
  const bytesSent = await sendAll({ store: parts.store, repository }, outgoing, tag, { ...options, early });
  await remember(push, outgoing);
  return told(outgoing, bytesSent);
}

/** What it went out as, and where its parts are now. */
async function remember({ parts, request, repository }: Push, outgoing: Outgoing): Promise<void> {
  const { images, layers } = parts.store;
  const { image, reference } = request;
  if (outgoing.origin !== undefined) await images.setOrigin(image.id, outgoing.origin);
  await layers.addSources(
    repository.name,
    outgoing.blobs.map(({ descriptor }) => descriptor.digest),
  );
  await images.tag(`${repositoryOf(reference as Reference)}@${outgoing.top.digest}`, image.id);
}

function told(outgoing: Outgoing, bytesSent: number): PushedImage {
  const { top, manifest, sizeBytes, explanation } = outgoing;
  return { digest: top.digest, manifest, sizeBytes, bytesSent, explanation };
}

function platformOf({ architecture, os, variant }: { architecture: string; os: string; variant?: string }): Platform {
  return { architecture, os, ...(variant === undefined ? {} : { variant }) };
}
