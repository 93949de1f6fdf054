import { EngineError } from '../../base/errors.ts';
import type { Descriptor, ImageIndex } from '../../oci/image.ts';
import { MediaType } from '../../oci/media-types.ts';
import { formatPlatform, hostPlatform, platformFits, platformOf } from '../../oci/platform.ts';
import type { ImageOrigin, ImagePlatform, ImageRecord, JobOptions, Lease } from '../../store/port.ts';
import { type Making, type MakingParts, make } from '../push/made.ts';
import { document, memorySource, type Outgoing } from '../push/outgoing.ts';
import type { ImageJoiner } from './port.ts';

type Made = { readonly image: ImageRecord; readonly manifest: Descriptor; readonly origin: ImageOrigin };

/** Joins images by the ordinary form of each (image-spec image-index.md). */
export class StoreImageJoiner implements ImageJoiner {
  readonly #parts: MakingParts;

  constructor(parts: MakingParts) {
    this.#parts = parts;
  }

  async join(images: readonly ImageRecord[], { signal, lease: given }: JobOptions = {}): Promise<ImageRecord> {
    const { store } = this.#parts;
    refuseTwice(images);
    await using own = given === undefined ? await store.leases.acquire({ purpose: 'join platforms' }) : undefined;
    const lease = (given ?? own) as Lease;
    const made: Made[] = [];
    for (const image of images) made.push(await this.#make(image, lease, signal));
    const host = hostPlatform();
    const shown = made.find(({ image }) => platformFits(platformOf(image.config), host)) ?? made[0];
    if (shown === undefined) throw new EngineError('Internal', 'PLATFORMS_NONE', 'an image of no platform cannot be made');
    const index = document(indexOf(made), MediaType.ociIndex);
    await lease.add('blob', index.digest);
    if (!(await store.blobs.has(index.digest)))
      await store.blobs.put(memorySource(index.bytes).read(0), { digest: index.digest, sizeBytes: index.bytes.length });
    const { config, tree, treeContent, history, steps } = shown.image;
    return store.images.create({
      config,
      tree: { id: tree, content: treeContent },
      history,
      ...(steps === undefined ? {} : { steps }),
      platforms: made.map(({ image }) => platformPart(image)),
      origin: { ...shown.origin, index: { digest: index.digest, mediaType: index.mediaType } },
    });
  }

  async #make(image: ImageRecord, lease: Lease, signal: AbortSignal | undefined): Promise<Made> {
    const making: Making = {
      image,
      repository: undefined,
      destination: { tagged: undefined, candidates: [], previous: undefined, there: new Set() },
      form: 'oci',
      choice: { kind: 'adaptive' },
      compression: 'gzip',
      lease,
    };
    const adaptive = await make(this.#parts, making, { signal });
    // Layers of the base that came as chunks have no blob here, and an index is no use without one.
    const made = isHere(adaptive) ? adaptive : await make(this.#parts, { ...making, choice: { kind: 'single' } }, { signal });
    if (made.origin === undefined) throw new EngineError('Internal', 'PLATFORM_FORM', `image ${image.id} has no ordinary form`);
    for (const { descriptor } of made.blobs) await lease.add('blob', descriptor.digest);
    return { image, manifest: made.manifest, origin: made.origin };
  }
}

function isHere({ blobs }: Outgoing): boolean {
  return blobs.every(({ source }) => source !== undefined);
}

function indexOf(made: readonly Made[]): ImageIndex {
  return {
    schemaVersion: 2,
    mediaType: MediaType.ociIndex,
    manifests: made.map(({ image, manifest }) => ({ ...manifest, platform: platformOf(image.config) })),
  };
}

function platformPart({ origin: _origin, platforms: _platforms, ...image }: ImageRecord): ImagePlatform {
  return image;
}

function refuseTwice(images: readonly ImageRecord[]): void {
  const seen = new Set<string>();
  for (const { config } of images) {
    const platform = formatPlatform(platformOf(config));
    if (seen.has(platform)) {
      throw new EngineError('InvalidArgument', 'PLATFORM_TWICE', `two of the platforms give an image for ${platform}`, {
        hint: 'A base image that is for one platform only gives the same image for all; name one platform, or take another base.',
      });
    }
    seen.add(platform);
  }
}
