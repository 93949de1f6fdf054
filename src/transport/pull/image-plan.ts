import { EngineError } from '../../base/errors.ts';
import { diffIdsOf, maxConfigBytes, parseImageConfig } from '../../oci/config.ts';
import { type Digest, digestOf, parseDigest, sha256 } from '../../oci/digest.ts';
import type { Descriptor, ImageConfig, Manifest, Platform } from '../../oci/image.ts';
import { isForeignLayer, isTarLayer, MediaType } from '../../oci/media-types.ts';
import { formatPlatform, selectByPlatform } from '../../oci/platform.ts';
import type { Repository } from '../registry/port.ts';
import { namedAsDamaged } from './damaged.ts';
import type { WantedLayer } from './layer-fetcher.ts';

export type ImagePlan = {
  config: ImageConfig;
  configDigest: Digest;
  configBytes: Buffer;
  /** Lowest first. */
  layers: WantedLayer[];
};

/** An image's config, from here or from the registry, checked against its descriptor. */
export async function fetchConfig(
  repository: Repository,
  manifest: Manifest,
  options: {
    what: string;
    signal: AbortSignal | undefined;
    onBytes(count: number): void;
    local(digest: Digest): Promise<Buffer | undefined>;
  },
): Promise<Buffer> {
  const { what, signal, onBytes } = options;
  const { mediaType, size } = manifest.config;
  if (mediaType !== MediaType.ociConfig && mediaType !== MediaType.dockerConfig) {
    throw new EngineError('Unsupported', 'NOT_AN_IMAGE', `${what} is not an image but an artifact of type ${mediaType}`, {
      hint: 'Other programs fetch it: helm for charts, cosign for signatures, oras for anything.',
    });
  }
  if (size > maxConfigBytes) throw invalid('DOCUMENT_INVALID', what, `its config has ${size} bytes, at most ${maxConfigBytes} are allowed`);
  const digest = parseDigest(manifest.config.digest);
  const here = await options.local(digest);
  if (here !== undefined && here.length === size) return here;
  const chunks: Uint8Array[] = [];
  let received = 0;
  try {
    for await (const chunk of repository.blob({ digest, size }, { signal, onBytes })) {
      received += chunk.length;
      if (received > size) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw namedAsDamaged(error, `the config of ${what}`, repository);
  }
  signal?.throwIfAborted();
  const bytes = Buffer.concat(chunks);
  const read = digestOf(sha256(bytes));
  if (received === size && read === digest) return bytes;
  throw new EngineError(
    'DataLoss',
    'BLOB_DIGEST_MISMATCH',
    `the config of ${what} from ${repository.name} is damaged: expected ${digest}, read ${read}`,
    {
      hint: 'Pull again; when it stays so, the registry holds a damaged copy.',
    },
  );
}

/** Checks that manifest and config are of one image, and (`withLayers`) that its layers are such as can be unpacked. */
export function planImage(
  manifest: Manifest,
  configBytes: Buffer,
  options: { what: string; platform: Platform | undefined; withLayers: boolean },
): ImagePlan {
  const { what, platform, withLayers } = options;
  const config = parseImageConfig(configBytes, `the config of ${what}`);
  if (platform !== undefined) checkPlatform(config, platform, manifest.config, what);
  const configDigest = parseDigest(manifest.config.digest);
  if (!withLayers) return { config, configDigest, configBytes, layers: [] };
  const diffIds = diffIdsOf(config);
  const { layers } = manifest;
  if (diffIds.length !== layers.length) {
    throw invalid('LAYER_COUNT', what, `its manifest lists ${layers.length} layers, its config ${diffIds.length}`);
  }
  const planned = layers.map((descriptor, index): WantedLayer => {
    const diffId = diffIds[index];
    if (diffId === undefined) throw invalid('LAYER_COUNT', what, `its config does not list layer ${index + 1}`);
    return planLayer(descriptor, diffId, `layer ${index + 1} of ${what}`);
  });
  return { config, configDigest, configBytes, layers: planned };
}

function planLayer(descriptor: Descriptor, diffId: Digest, what: string): WantedLayer {
  const { mediaType, size, urls } = descriptor;
  const isForeign = isForeignLayer(mediaType);
  // `+encrypted` and whatever comes after today's compressions is a tar no more.
  if (!isTarLayer(mediaType) || !/tar(?:[.+](?:gzip|zstd))?$/.test(mediaType)) {
    throw new EngineError('Unsupported', 'LAYER_TYPE', `${what} is of type ${mediaType}, which this engine cannot unpack`, {
      hint: 'Layers are tars: plain, gzip or zstd.',
    });
  }
  const digest = parseDigest(descriptor.digest);
  // Only layers that may not be redistributed name other places for good reason; any other layer is the registry's to give.
  return { descriptor: { mediaType, digest, size, ...(isForeign && urls !== undefined ? { urls } : {}) }, diffId, what };
}

function checkPlatform(config: ImageConfig, wanted: Platform, descriptor: Descriptor, what: string): void {
  const { os, architecture, variant } = config;
  const offered: Platform = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  if (selectByPlatform([{ ...descriptor, platform: offered }], wanted) !== undefined) return;
  throw new EngineError('NotFound', 'PLATFORM_UNKNOWN', `${what} has no image for ${formatPlatform(wanted)}`, {
    hint: `It has: ${formatPlatform(offered)}.`,
  });
}

function invalid(code: string, what: string, problem: string): EngineError {
  return new EngineError('InvalidArgument', code, `${what} cannot be pulled: ${problem}`);
}
