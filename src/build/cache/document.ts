import { promisify } from 'node:util';
import { zstdCompress as compress, constants, zstdDecompress as decompress } from 'node:zlib';
import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, type Hex, isHex, parseDigest, sha256 } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import { maxManifestBytes, parseManifest } from '../../oci/manifest.ts';
import { MediaType } from '../../oci/media-types.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { TargetBlob } from './targets/port.ts';

export const cacheArtifactType = 'application/vnd.slipway.build.cache.v1';
const entriesType = 'application/vnd.slipway.build.cache.entries.v1+zstd';

const zstdCompress = promisify(compress);
const zstdDecompress = promisify(decompress);
const maxEntriesBytes = 16 << 20;
const maxPlainBytes = 32 << 20;

/** A tree that the cache has. `packs` as in a `CollectedTree`. */
export type CachedTree = TreeRef & { readonly sizeBytes: number; readonly packs: readonly number[] };

/** A step's result. Times are milliseconds of Unix time. */
export type CachedResult = {
  readonly recipe: Hex;
  readonly content: Hex | undefined;
  readonly tree: TreeId;
  readonly createdAtMs: number | undefined;
  readonly madeAtMs: number | undefined;
  /** How long the step ran, and how long at least all that it needs. */
  readonly costMs: number | undefined;
  readonly totalMs: number | undefined;
  readonly usedAtMs: number;
};

/** What a `RUN --mount=type=cache` had. `costMs`: the longest run of a step with it. */
export type CachedMount = {
  readonly id: string;
  readonly platform: string;
  readonly tree: TreeId;
  readonly costMs: number;
  readonly usedAtMs: number;
};

export type CacheEntries = {
  readonly trees: ReadonlyMap<TreeId, CachedTree>;
  readonly results: readonly CachedResult[];
  readonly mounts: readonly CachedMount[];
};

/** As it lies in the place. `blobs`: of the collection of trees, its head first. */
export type CacheManifest = { readonly entries: TargetBlob; readonly blobs: readonly TargetBlob[] };

export async function encodeEntries({ trees, results, mounts }: CacheEntries): Promise<{ bytes: Buffer; descriptor: TargetBlob }> {
  const listed = [...trees.values()];
  const places = new Map(listed.map(({ id }, index) => [id, index]));
  const place = (tree: TreeId) => places.get(tree) ?? -1;
  const sorted = [...results].sort((a, b) => (a.recipe < b.recipe ? -1 : 1));
  const json = {
    version: 1,
    trees: listed.map(({ id, content, sizeBytes, packs }) => [id, content, sizeBytes, packs]),
    results: sorted.map((result) => [
      result.recipe,
      result.content ?? null,
      place(result.tree),
      result.createdAtMs ?? null,
      result.madeAtMs ?? null,
      result.costMs ?? null,
      result.totalMs ?? null,
      result.usedAtMs,
    ]),
    mounts: mounts.map(({ id, platform, tree, costMs, usedAtMs }) => [id, platform, place(tree), costMs, usedAtMs]),
  };
  const params = { [constants.ZSTD_c_compressionLevel]: 9, [constants.ZSTD_c_checksumFlag]: 1 };
  const bytes = await zstdCompress(JSON.stringify(json), { params });
  return { bytes, descriptor: { mediaType: entriesType, digest: digestOf(sha256(bytes)), size: bytes.length } };
}

/** Reads untrusted bytes. InvalidArgument `CACHE_INVALID`. */
export async function decodeEntries(bytes: Uint8Array, what: string): Promise<CacheEntries> {
  let json: unknown;
  try {
    json = JSON.parse((await zstdDecompress(bytes, { maxOutputLength: maxPlainBytes })).toString('utf8'));
  } catch (cause) {
    throw invalid(what, 'its entries cannot be unpacked', cause);
  }
  return new EntriesReader(what).read(json);
}

class EntriesReader {
  readonly #what: string;
  #trees: CachedTree[] = [];

  constructor(what: string) {
    this.#what = what;
  }

  read(json: unknown): CacheEntries {
    if (typeof json !== 'object' || json === null || !('version' in json)) this.#fail('its entries are no object');
    const { version, trees, results, mounts } = json as Record<string, unknown>;
    if (version !== 1) this.#fail(`its entries have version ${String(version).slice(0, 20)}, this engine reads 1`);
    this.#trees = this.#rows(trees, 'trees').map(([id, content, sizeBytes, packs]) => ({
      id: this.#hex(id) as TreeId,
      content: this.#hex(content),
      sizeBytes: this.#number(sizeBytes),
      packs: this.#list(packs, 'packs').map((pack) => this.#number(pack)),
    }));
    return {
      trees: new Map(this.#trees.map((tree) => [tree.id, tree])),
      results: this.#rows(results, 'results').map(([recipe, content, tree, createdAtMs, madeAtMs, costMs, totalMs, usedAtMs]) => ({
        recipe: this.#hex(recipe),
        content: content === null ? undefined : this.#hex(content),
        tree: this.#tree(tree),
        createdAtMs: this.#maybe(createdAtMs),
        madeAtMs: this.#maybe(madeAtMs),
        costMs: this.#maybe(costMs),
        totalMs: this.#maybe(totalMs),
        usedAtMs: this.#number(usedAtMs),
      })),
      mounts: this.#rows(mounts, 'mounts').map(([id, platform, tree, costMs, usedAtMs]) => ({
        id: this.#text(id),
        platform: this.#text(platform),
        tree: this.#tree(tree),
        costMs: this.#number(costMs),
        usedAtMs: this.#number(usedAtMs),
      })),
    };
  }

  #fail(problem: string): never {
    throw invalid(this.#what, problem);
  }

  #list(value: unknown, name: string): unknown[] {
    return Array.isArray(value) ? value : this.#fail(`${name} is no list`);
  }

  #rows(value: unknown, name: string): unknown[][] {
    return this.#list(value, name).map((row) => this.#list(row, `a row of ${name}`));
  }

  #hex(value: unknown): Hex {
    return typeof value === 'string' && isHex(value) ? value : this.#fail('a digest is none');
  }

  #text(value: unknown): string {
    return typeof value === 'string' && value.length <= 4096 ? value : this.#fail('a name is none');
  }

  #number(value: unknown): number {
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : this.#fail('a number is none');
  }

  #maybe(value: unknown): number | undefined {
    return value === null ? undefined : this.#number(value);
  }

  #tree(index: unknown): TreeId {
    return this.#trees[this.#number(index)]?.id ?? this.#fail('a tree is not listed');
  }
}

export function encodeCacheManifest({ entries, blobs }: CacheManifest): Buffer {
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    artifactType: cacheArtifactType,
    config: plain(entries),
    layers: blobs.map(plain),
  };
  return Buffer.from(JSON.stringify(manifest));
}

/** Reads untrusted bytes. InvalidArgument `CACHE_INVALID`. */
export function decodeCacheManifest(bytes: Buffer, what: string): CacheManifest {
  if (bytes.length > maxManifestBytes) throw invalid(what, `its manifest has ${bytes.length} bytes`);
  const manifest = parsed(bytes, what);
  if (manifest.artifactType !== cacheArtifactType) {
    const found = manifest.artifactType ?? manifest.config.mediaType;
    throw invalid(what, `it is no build cache of slipway but ${found.slice(0, 100)}`);
  }
  const [entries, ...blobs] = [manifest.config, ...manifest.layers].map(({ digest, size, mediaType }) => ({
    digest: parseDigest(digest),
    size,
    mediaType,
  })) as [TargetBlob, ...TargetBlob[]];
  if (entries.size > maxEntriesBytes) throw invalid(what, `its entries have ${entries.size} bytes`);
  return { entries, blobs };
}

function parsed(bytes: Buffer, what: string): ReturnType<typeof parseManifest> {
  try {
    return parseManifest(bytes, { mediaType: MediaType.ociManifest, what });
  } catch (cause) {
    throw invalid(what, cause instanceof Error ? cause.message : 'its manifest cannot be read', cause);
  }
}

function plain({ mediaType, digest, size }: TargetBlob): Descriptor & { digest: Digest } {
  return { mediaType, digest, size };
}

function invalid(what: string, problem: string, cause?: unknown): EngineError {
  return new EngineError('InvalidArgument', 'CACHE_INVALID', `the cache ${what} cannot be used: ${problem}`, { cause });
}
