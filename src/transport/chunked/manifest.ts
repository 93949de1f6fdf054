import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, parseDigest, sha256 } from '../../oci/digest.ts';
import type { Descriptor, Manifest } from '../../oci/image.ts';
import { maxManifestBytes, parseManifest } from '../../oci/manifest.ts';
import { MediaType } from '../../oci/media-types.ts';
import type { FoundManifest } from '../registry/port.ts';
import { invalidForm, unknownVersion } from './errors.ts';
import { maxHeadBytes } from './head.ts';
import { type ChunkedBuild, ChunkedType } from './port.ts';
import type { RemoteBlob } from './remote.ts';

export type ChunkedManifest = { manifest: Manifest; head: RemoteBlob; blobs: RemoteBlob[] };

/** The manifest as bytes: the same layers and config give the same. */
export function encodeManifest(config: Descriptor, layers: readonly Descriptor[]): ChunkedBuild['manifest'] {
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    artifactType: ChunkedType.artifact,
    config: plain(config),
    layers: layers.map(plain),
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  if (bytes.length > maxManifestBytes) throw invalidForm('the chunked manifest', `it would have ${bytes.length} bytes`);
  const descriptor = {
    mediaType: MediaType.ociManifest,
    digest: digestOf(sha256(bytes)),
    size: bytes.length,
    // As attestations have it: no client takes it for an image of its platform.
    platform: { architecture: 'unknown', os: 'unknown' },
    artifactType: ChunkedType.artifact,
  };
  return { bytes, descriptor };
}

function plain({ mediaType, digest, size }: Descriptor): Descriptor {
  return { mediaType, digest, size };
}

/** Reads untrusted bytes. InvalidArgument `CHUNKED_INVALID`; Unsupported `CHUNKED_VERSION`. */
export function readManifest({ bytes, descriptor }: FoundManifest, what: string): ChunkedManifest {
  const manifest = parse(bytes, descriptor.mediaType, what);
  const { artifactType } = manifest;
  const version = /^application\/vnd\.slipway\.image\.chunked\.v(\d+)$/.exec(artifactType ?? '')?.[1];
  if (version === undefined) throw invalidForm(what, 'it is not of the chunked form');
  if (artifactType !== ChunkedType.artifact) throw unknownVersion(what, version, 1);
  const seen = new Set<Digest>();
  const blobs = manifest.layers.map(({ digest, size, mediaType }) => {
    const parsed = parseDigest(digest);
    if (!Number.isSafeInteger(size) || size < 0) throw invalidForm(what, `blob ${digest} is said to have ${size} bytes`);
    if (seen.has(parsed)) throw invalidForm(what, `blob ${digest} is listed twice`);
    seen.add(parsed);
    return { digest: parsed, size, mediaType };
  });
  const [head] = blobs;
  if (head?.mediaType !== ChunkedType.head) throw invalidForm(what, 'its first layer is not a head');
  if (head.size > maxHeadBytes) throw invalidForm(what, `its head has ${head.size} bytes`);
  return { manifest, head, blobs };
}

function parse(bytes: Uint8Array, mediaType: string, what: string): Manifest {
  try {
    return parseManifest(bytes, { mediaType, what });
  } catch (error) {
    if (error instanceof EngineError && (error.kind === 'InvalidArgument' || error.kind === 'Unsupported'))
      throw invalidForm(what, error.message);
    throw error;
  }
}
