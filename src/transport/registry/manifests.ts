import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, isDigest, sha256 } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import { maxManifestBytes } from '../../oci/manifest.ts';
import { isIndexType, isManifestType, MediaType } from '../../oci/media-types.ts';
import type { HttpAnswer } from './answer.ts';
import { type Asked, failureOf } from './failures.ts';
import type { FoundManifest } from './port.ts';

/** Without it, old registries convert what they have to schema 1. */
export const acceptManifests = [MediaType.ociIndex, MediaType.ociManifest, MediaType.dockerManifestList, MediaType.dockerManifest].join(
  ', ',
);

/** Reads and checks a manifest. InvalidArgument `DOCUMENT_INVALID` for one over the limit; DataLoss `MANIFEST_DIGEST_MISMATCH`. */
export async function readManifest(answer: HttpAnswer, tagOrDigest: string, asked: Asked): Promise<FoundManifest> {
  if (answer.status !== 200) throw await failureOf(answer, asked);
  const what = describe(asked);
  if ((answer.length ?? 0) > maxManifestBytes) throw tooLarge(what);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer.body()) {
    size += chunk.length;
    if (size > maxManifestBytes) throw tooLarge(what);
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks, size);
  const digest = digestOf(sha256(bytes));
  const announced = isDigest(tagOrDigest) ? tagOrDigest : announcedDigest(answer);
  if (announced !== undefined && announced !== digest) {
    throw new EngineError('DataLoss', 'MANIFEST_DIGEST_MISMATCH', `${what}: ${asked.host} gave bytes that are ${digest}, not ${announced}`);
  }
  return { descriptor: { mediaType: mediaTypeOf(answer, bytes), digest, size }, bytes };
}

/** What HEAD tells; undefined where the registry leaves some of it out. */
export function headOf(answer: HttpAnswer, tagOrDigest: string): (Descriptor & { digest: Digest }) | undefined {
  const digest = isDigest(tagOrDigest) ? tagOrDigest : announcedDigest(answer);
  const mediaType = contentType(answer);
  if (digest === undefined || answer.length === undefined || !(isIndexType(mediaType) || isManifestType(mediaType))) return undefined;
  return { mediaType, digest, size: answer.length };
}

function announcedDigest({ headers }: HttpAnswer): Digest | undefined {
  const text = headers['docker-content-digest'];
  return typeof text === 'string' && isDigest(text) ? text : undefined;
}

function contentType({ headers }: HttpAnswer): string {
  return (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

/** What the registry calls it. Where that says nothing, what the document calls itself, or else looks like; whoever parses it checks again. */
function mediaTypeOf(answer: HttpAnswer, bytes: Buffer): string {
  const said = contentType(answer);
  if (said !== '' && !['application/json', 'application/octet-stream', 'text/plain', 'text/html'].includes(said)) return said;
  try {
    const document: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof document !== 'object' || document === null) return said;
    if ('mediaType' in document && typeof document.mediaType === 'string') return document.mediaType;
    return 'manifests' in document ? MediaType.ociIndex : MediaType.ociManifest;
  } catch {
    return said === '' ? 'application/octet-stream' : said;
  }
}

function describe({ name, subject }: Asked): string {
  return subject.kind === 'manifest' ? subject.reference : name;
}

function tooLarge(what: string): EngineError {
  return new EngineError(
    'InvalidArgument',
    'DOCUMENT_INVALID',
    `the manifest of ${what} has more than ${maxManifestBytes} bytes, which registries do not take`,
  );
}
