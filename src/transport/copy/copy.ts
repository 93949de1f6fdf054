import { EngineError } from '../../base/errors.ts';
import { type Digest, hexOf, parseDigest } from '../../oci/digest.ts';
import type { Descriptor, ImageIndex, Manifest } from '../../oci/image.ts';
import { parseIndex, parseManifestDocument } from '../../oci/manifest.ts';
import { isForeignLayer, MediaType } from '../../oci/media-types.ts';
import { formatPlatform, selectByPlatform } from '../../oci/platform.ts';
import { canonical } from '../../oci/reference.ts';
import { limited } from '../limited.ts';
import type { CopyRequest, TransferCallOptions } from '../port.ts';
import type { FoundManifest, Registries, Repository } from '../registry/port.ts';

const blobsAtOnce = 4;
const maxDepth = 4;
/** What cosign puts beside an image under tags of its own, where registries have no referrers. */
const cosignSuffixes = ['sig', 'att', 'sbom'];

type Copy = {
  source: Repository;
  target: Repository;
  /** Of one registry: blobs are mounted. */
  isLocal: boolean;
  done: Set<Digest>;
  blobs: Set<string>;
  bytesSent: number;
  options: TransferCallOptions;
};

/** Copies a tag or digest from repository to repository: every document as it is, blobs through memory. What the name says is put last. */
export async function copyImage(
  registries: Registries,
  request: CopyRequest,
  options: TransferCallOptions,
): Promise<{ digest: Digest; bytesSent: number }> {
  const { from, to, platform } = request;
  if (to.tag === undefined) throw new EngineError('InvalidArgument', 'TAG_MISSING', `${canonical(to)} has no tag to copy to`);
  const source = registries.repository(from, { auth: request.fromAuth });
  const target = registries.repository(to, { auth: request.toAuth, actions: 'pull,push' });
  const copy: Copy = { source, target, isLocal: from.domain === to.domain, done: new Set(), blobs: new Set(), bytesSent: 0, options };
  const named = await source.manifest(from.digest ?? from.tag ?? 'latest', { signal: options.signal });
  const top = platform === undefined ? named : await forPlatform(copy, named, request);
  await copyContent(copy, top, 0);
  const { digest } = top.descriptor;
  await target.putManifest(to.tag, top.bytes, top.descriptor.mediaType, { signal: options.signal });
  if (request.referrers !== false) await copyReferrers(copy);
  return { digest, bytesSent: copy.bytesSent };
}

async function forPlatform({ source, options }: Copy, named: FoundManifest, { from, platform }: CopyRequest): Promise<FoundManifest> {
  const parsed = parse(named, source);
  if (parsed.kind === 'manifest' || platform === undefined) return named;
  const wanted = selectByPlatform(parsed.index.manifests, platform);
  if (wanted === undefined) {
    throw new EngineError('NotFound', 'PLATFORM_UNKNOWN', `${canonical(from)} has nothing for ${formatPlatform(platform)}`);
  }
  return source.manifest(parseDigest(wanted.digest), { signal: options.signal });
}

/** All that a manifest or index needs, itself put under its digest last. */
async function copyContent(copy: Copy, found: FoundManifest, depth: number): Promise<void> {
  const { source, target, done, options } = copy;
  const { digest, mediaType } = found.descriptor;
  if (done.has(digest)) return;
  if (depth > maxDepth) {
    throw new EngineError(
      'InvalidArgument',
      'INDEX_LOOP',
      `${digest} of ${source.name} has indexes inside of indexes, more than ${maxDepth} deep`,
    );
  }
  const parsed = parse(found, source);
  if (parsed.kind === 'manifest') await copyBlobs(copy, parsed.manifest);
  else {
    for (const child of parsed.index.manifests) {
      const fetched = await source.manifest(parseDigest(child.digest), { signal: options.signal });
      await copyContent(copy, fetched, depth + 1);
    }
  }
  await target.putManifest(digest, found.bytes, mediaType, { signal: options.signal });
  done.add(digest);
}

function parse(found: FoundManifest, { name }: Repository) {
  return parseManifestDocument(found.bytes, {
    mediaType: found.descriptor.mediaType,
    what: `manifest ${found.descriptor.digest} of ${name}`,
  });
}

async function copyBlobs(copy: Copy, { config, layers }: Manifest): Promise<void> {
  const distinct = new Map<string, Descriptor>();
  for (const blob of [config, ...layers]) {
    if (!isForeignLayer(blob.mediaType) && !copy.blobs.has(blob.digest)) distinct.set(blob.digest, blob);
  }
  await limited([...distinct.values()], blobsAtOnce, copy.options.signal, (blob, signal) => copyBlob(copy, blob, signal));
}

async function copyBlob(copy: Copy, descriptor: Descriptor, signal: AbortSignal): Promise<void> {
  const { source, target, isLocal, options } = copy;
  const digest = parseDigest(descriptor.digest);
  const id = hexOf(digest).slice(0, 12);
  let current = 0;
  const onBytes = (count: number) => {
    current += count;
    copy.bytesSent += count;
    options.onProgress?.({ id, status: 'Copying', current, total: descriptor.size });
  };
  const outcome = await target.upload(
    descriptor,
    { read: (offset) => source.blob(descriptor, { offset, signal }) },
    { signal, onBytes, mountFrom: isLocal && source.name !== target.name ? [source.name] : [] },
  );
  copy.blobs.add(descriptor.digest);
  const said = {
    present: 'Already exists',
    mounted: `Mounted from ${source.name.slice(source.name.indexOf('/') + 1)}`,
    uploaded: 'Copied',
  };
  options.onProgress?.({ id, status: said[outcome] });
}

/** Signatures, attestations and the like of every manifest that was copied, and theirs in turn; what cosign keeps under tags as well. */
async function copyReferrers(copy: Copy): Promise<void> {
  const { source, done, options } = copy;
  const asked = new Set<Digest>();
  for (;;) {
    const next = [...done].find((digest) => !asked.has(digest));
    if (next === undefined) return;
    asked.add(next);
    const referrers = await source.referrers(next, { signal: options.signal });
    for (const referrer of referrers) {
      const found = await source.manifest(parseDigest(referrer.digest), { signal: options.signal });
      await copyContent(copy, found, 0);
    }
    if (referrers.length > 0) await listReferrers(copy, next, referrers);
    for (const suffix of cosignSuffixes) await copyTag(copy, `sha256-${hexOf(next)}.${suffix}`);
  }
}

/** A registry without the referrers API finds them under a tag that whoever puts them there must keep (distribution-spec, "Referrers Tag Schema"). */
async function listReferrers({ target, options }: Copy, subject: Digest, referrers: readonly Descriptor[]): Promise<void> {
  const { signal } = options;
  const known = await target.referrers(subject, { signal });
  const missing = referrers.filter(({ digest }) => !known.some((each) => each.digest === digest));
  if (missing.length === 0) return;
  const index: ImageIndex = { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: [...known, ...missing] };
  const bytes = Buffer.from(JSON.stringify(index));
  parseIndex(bytes); // it came from elsewhere in parts: no more than what every client takes
  await target.putManifest(`sha256-${hexOf(subject)}`, bytes, MediaType.ociIndex, { signal });
}

async function copyTag(copy: Copy, tag: string): Promise<void> {
  const { source, target, options } = copy;
  const { signal } = options;
  if ((await source.head(tag, { signal })) === undefined) return;
  const found = await source.manifest(tag, { signal });
  await copyContent(copy, found, 0);
  await target.putManifest(tag, found.bytes, found.descriptor.mediaType, { signal });
}
