import { EngineError } from '../../base/errors.ts';
import { digestOf, sha256 } from '../../oci/digest.ts';
import type { Descriptor, ImageIndex } from '../../oci/image.ts';
import { MediaType } from '../../oci/media-types.ts';
import { formatPlatform, hostPlatform, platformFits, platformOf } from '../../oci/platform.ts';
import type { ImageOrigin, ImagePlatform, ImageRecord, JobOptions, Lease } from '../../store/port.ts';
import { type Making, type MakingParts, make } from '../push/made.ts';
import { descriptorOf, document, memorySource, type Outgoing, type OutgoingDocument } from '../push/outgoing.ts';
import type { ImageJoiner, ImageStatement, StatementsOf } from './port.ts';

/** BuildKit util/attestation. */
const inTotoType = 'application/vnd.in-toto+json';

type Made = {
  readonly image: ImageRecord;
  readonly manifest: Descriptor;
  readonly origin: ImageOrigin;
  /** The manifest of the statements about it. */
  readonly attestation?: Descriptor | undefined;
};

/** Joins images by the ordinary form of each (image-spec image-index.md). */
export class StoreImageJoiner implements ImageJoiner {
  readonly #parts: MakingParts;

  constructor(parts: MakingParts) {
    this.#parts = parts;
  }

  async join(
    images: readonly ImageRecord[],
    { signal, lease: given, statementsOf }: JobOptions & { statementsOf?: StatementsOf | undefined } = {},
  ): Promise<ImageRecord> {
    const { store } = this.#parts;
    refuseTwice(images);
    await using own = given === undefined ? await store.leases.acquire({ purpose: 'join platforms' }) : undefined;
    const lease = (given ?? own) as Lease;
    const made: Made[] = [];
    for (const image of images) {
      const one = await this.#make(image, lease, signal);
      const statements = statementsOf?.(image, one.manifest) ?? [];
      made.push({ ...one, attestation: statements.length === 0 ? undefined : await this.#attest(one.manifest, statements, lease) });
    }
    const host = hostPlatform();
    const shown = made.find(({ image }) => platformFits(platformOf(image.config), host)) ?? made[0];
    if (shown === undefined) throw new EngineError('Internal', 'PLATFORMS_NONE', 'an image of no platform cannot be made');
    const index = document(indexOf(made), MediaType.ociIndex);
    await this.#keep(index, lease);
    const { config, tree, treeContent, history, steps } = shown.image;
    const attested = made.some(({ attestation }) => attestation !== undefined);
    const origin: ImageOrigin = {
      ...shown.origin,
      index: { digest: index.digest, mediaType: index.mediaType, ...(attested ? { attested } : {}) },
    };
    const image = await store.images.create({
      config,
      tree: { id: tree, content: treeContent },
      history,
      ...(steps === undefined ? {} : { steps }),
      ...(made.length < 2 ? {} : { platforms: made.map((each) => platformPart(each.image)) }),
      origin,
    });
    // The same image may be there from before, with what was said of it then.
    if (image.origin?.index?.digest !== index.digest) await store.images.setOrigin(image.id, origin);
    return { ...image, origin };
  }

  /** The manifest that BuildKit has for statements: its layers are they, its config names them and nothing else. */
  async #attest(manifest: Descriptor, statements: readonly ImageStatement[], lease: Lease): Promise<Descriptor> {
    const layers: Descriptor[] = [];
    for (const { predicateType, bytes } of statements) {
      const blob = { digest: digestOf(sha256(bytes)), mediaType: inTotoType, bytes };
      await this.#keep(blob, lease);
      layers.push({ ...descriptorOf(blob), annotations: { 'in-toto.io/predicate-type': predicateType } });
    }
    const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
    const config = document({ architecture: 'unknown', os: 'unknown', config: {}, rootfs }, MediaType.ociConfig);
    const mediaType = MediaType.ociManifest;
    const made = document({ schemaVersion: 2, mediaType, config: descriptorOf(config), layers }, mediaType);
    await this.#keep(config, lease);
    await this.#keep(made, lease);
    return {
      ...descriptorOf(made),
      annotations: { 'vnd.docker.reference.digest': manifest.digest, 'vnd.docker.reference.type': 'attestation-manifest' },
      platform: { architecture: 'unknown', os: 'unknown' },
    };
  }

  async #keep({ digest, bytes }: OutgoingDocument, lease: Lease): Promise<void> {
    const { blobs } = this.#parts.store;
    await lease.add('blob', digest);
    if (!(await blobs.has(digest))) await blobs.put(memorySource(bytes).read(0), { digest, sizeBytes: bytes.length });
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
    manifests: [
      ...made.map(({ image, manifest }) => ({ ...manifest, platform: platformOf(image.config) })),
      // After the images, as BuildKit has it: who knows nothing of statements takes the first that fits.
      ...made.flatMap(({ attestation }) => attestation ?? []),
    ],
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
