import { EngineError } from '../../base/errors.ts';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import type { Descriptor, ImageIndex, Platform } from '../../oci/image.ts';
import { parseManifest, parseManifestDocument } from '../../oci/manifest.ts';
import { selectByPlatform } from '../../oci/platform.ts';
import { parseReference, repositoryOf } from '../../oci/reference.ts';
import type { KnownLayer, Lease, Store } from '../../store/port.ts';
import { type ChunkedForm, isChunked } from '../chunked/port.ts';
import type { TransferCallOptions } from '../port.ts';
import type { FoundManifest, Repository } from '../registry/port.ts';

type Parts = { store: Store; chunked: ChunkedForm };

/** What the repository has now, to push as little as possible beside it. */
export type Destination = {
  /** What the tag names; undefined when it names nothing. */
  tagged: FoundManifest | undefined;
  /** Stacks of layers that are there, lowest first each, the likeliest first. */
  candidates: KnownLayer[][];
  /** The chunked manifest to go on from. */
  previous: FoundManifest | undefined;
  /** Blobs that the likeliest manifest lists. */
  there: Set<Digest>;
};

/** Images of the repository that were pushed or pulled from here, as further candidates. */
const maxLocalCandidates = 4;

/** Looks at what the tag names, else at what the repository's tag `latest` or its last one does, for it is likely to be an earlier release of the same thing. */
export async function lookAt(
  parts: Parts,
  repository: Repository,
  target: { tag: string; platform: Platform; lease: Lease },
  options: TransferCallOptions,
): Promise<Destination> {
  const { signal } = options;
  const tagged = await find(repository, target.tag, signal);
  const likeliest = tagged ?? (await neighbour(repository, target.tag, signal));
  const here = await localCandidates(parts.store, repository);
  if (likeliest === undefined) return { tagged, candidates: here, previous: undefined, there: new Set() };
  const seen = await read(parts, repository, likeliest, { ...target, ...options });
  return { tagged, candidates: [...seen.stack, ...here], previous: seen.previous, there: seen.there };
}

/** Undefined when there is none: a repository comes into being with its first push. */
async function find(repository: Repository, tag: string, signal: AbortSignal | undefined): Promise<FoundManifest | undefined> {
  try {
    return await repository.manifest(tag, { signal });
  } catch (error) {
    if (error instanceof EngineError && error.kind === 'NotFound') return undefined;
    throw error;
  }
}

async function neighbour(repository: Repository, tag: string, signal: AbortSignal | undefined): Promise<FoundManifest | undefined> {
  const tags = await repository.tags({ signal }).catch((error: unknown) => {
    // Some credentials may push and not list, and it is only a help.
    if (signal?.aborted) throw error;
    return [];
  });
  const others = tags.filter((name) => name !== tag && !/^sha256-[0-9a-f]{64}/.test(name));
  const last = others.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  const chosen = others.includes('latest') ? 'latest' : last;
  return chosen === undefined ? undefined : find(repository, chosen, signal);
}

type Seen = { stack: KnownLayer[][]; previous: FoundManifest | undefined; there: Set<Digest> };

async function read(
  parts: Parts,
  repository: Repository,
  found: FoundManifest,
  options: TransferCallOptions & { platform: Platform; lease: Lease },
): Promise<Seen> {
  const { signal, lease } = options;
  const listed = parseManifestDocument(found.bytes, { mediaType: found.descriptor.mediaType, what: `what ${repository.name} has` });
  const { ordinary, chunked } =
    listed.kind === 'manifest' ? { ordinary: found, chunked: undefined } : await children(repository, listed.index, options);
  const isOnlyChunked = ordinary !== undefined && isChunked(parseManifest(ordinary.bytes));
  const previous = isOnlyChunked ? ordinary : chunked;
  const there = new Set<Digest>();
  for (const manifest of [ordinary, previous]) {
    if (manifest === undefined) continue;
    const { config, layers } = parseManifest(manifest.bytes, { what: `what ${repository.name} has` });
    for (const { digest } of [config, ...layers]) there.add(parseDigest(digest));
  }
  const stack = await stackOf(parts, repository, { ordinary: isOnlyChunked ? undefined : ordinary, previous }, { signal, lease });
  return { stack: stack === undefined || stack.length === 0 ? [] : [stack], previous, there };
}

/** The manifests of an index that are for this platform: the ordinary one, and its chunked form beside it. */
async function children(repository: Repository, index: ImageIndex, { platform, signal }: TransferCallOptions & { platform: Platform }) {
  const others = index.manifests.filter((each) => !isChunked(each));
  const ordinary = selectByPlatform(others, platform);
  const chunked = index.manifests.find((each) => isChunked(each));
  const get = async (descriptor: Descriptor | undefined) =>
    descriptor === undefined ? undefined : await find(repository, parseDigest(descriptor.digest), signal);
  return { ordinary: await get(ordinary), chunked: await get(chunked) };
}

/** The layers of the tag's manifest, as far as their entries are known here, or told by its chunked form. */
async function stackOf(
  { store, chunked }: Parts,
  repository: Repository,
  { ordinary, previous }: { ordinary: FoundManifest | undefined; previous: FoundManifest | undefined },
  options: { signal: AbortSignal | undefined; lease: Lease },
): Promise<KnownLayer[] | undefined> {
  if (ordinary === undefined) return undefined;
  const known = await knownLayers(store, parseManifest(ordinary.bytes).layers);
  if (known !== undefined || previous === undefined) return known;
  try {
    return await chunked.layersOf(repository, previous, options);
  } catch (error) {
    // Of a later version, or damaged: it is only a help.
    if (options.signal?.aborted || !(error instanceof EngineError) || error.kind === 'Unavailable' || error.kind === 'Denied') throw error;
    return undefined;
  }
}

/** Undefined unless all are known. */
export async function knownLayers(store: Store, layers: readonly { digest: string }[]): Promise<KnownLayer[] | undefined> {
  const known = await Promise.all(layers.map(({ digest }) => store.layers.get(parseDigest(digest))));
  return known.every((layer) => layer !== undefined) ? known : undefined;
}

async function localCandidates(store: Store, repository: Repository): Promise<KnownLayer[][]> {
  const listings = await store.images.list();
  const pushed = listings.filter(({ references }) => {
    const parsed = references.map(parseReference);
    return parsed.some((reference) => reference.digest !== undefined && repositoryOf(reference) === repository.name);
  });
  const latest = pushed.toSorted((a, b) => b.lastUsedAtMs - a.lastUsedAtMs).slice(0, maxLocalCandidates);
  const stacks = await Promise.all(latest.map(({ record }) => knownLayers(store, record.origin?.layers ?? [])));
  return stacks.filter((stack) => stack !== undefined).filter((stack) => stack.length > 0);
}
