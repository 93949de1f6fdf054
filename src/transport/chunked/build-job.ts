import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import type { ByteString } from '../../base/bytes.ts';
import { type Digest, hexOf } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { BlobFile } from '../frames/durable-blob.ts';
import type { ChunkId } from '../frames/model.ts';
import { BlobList } from './blob-list.ts';
import { makeDeltas } from './deltas.ts';
import { isFallback } from './errors.ts';
import { decodeHead, encodeHead, type Head, type HeadLayerEntry, type HeadPack, type HeadTree, type StreamPlace } from './head.ts';
import { buildPacks } from './packs.ts';
import { ChunkedType } from './port.ts';
import { type Channel, joinRanges, Remote, type RemoteBlob } from './remote.ts';
import type { CachedStream } from './stream/cache.ts';
import { LayerNotWhole } from './stream/encode.ts';
import { presentStream, streamOf } from './stream/receive.ts';

export type ChunkedBuildParams = {
  readonly tree: TreeId;
  readonly layers: readonly {
    readonly digest: Digest;
    readonly sizeBytes: number;
    readonly mediaType: string;
    readonly diffId: Digest;
    readonly tree: TreeId;
    readonly implied: readonly ByteString[];
    readonly table?: { readonly digest: Digest; readonly sizeBytes: number } | undefined;
  }[];
  readonly form: 'both' | 'chunked';
  /** The head, among the store's blobs, and the layers of the chunked manifest that the tag has. */
  readonly previous?: { readonly head: Digest; readonly blobs: readonly RemoteBlob[] } | undefined;
  readonly channel: Channel;
};

export type ChunkedBuildResult = {
  /** The manifest's layers, the head first. */
  readonly layers: readonly (Descriptor & { digest: Digest })[];
  /** Those that were made now. */
  readonly made: readonly Digest[];
  readonly explanation: readonly string[];
};

const maxStreamPacks = 16;
const maxRequestBytes = 1 << 20;

/** Job `transport.chunked-build`. */
export async function buildChunked(context: TreeContext, params: ChunkedBuildParams): Promise<ChunkedBuildResult> {
  const remote = new Remote(context, params.channel);
  try {
    const result = await new ChunkedBuild(context, params, remote).run();
    remote.forget();
    return result;
  } finally {
    remote.close();
  }
}

/** A stream that the head lists: of a tree that is here, or as the previous head has it. */
type ListedStream = {
  readonly ids: readonly ChunkId[];
  readonly bytesOf: (index: number) => Buffer | undefined;
  readonly lengths: readonly number[];
};

class ChunkedBuild {
  readonly #context: TreeContext;
  readonly #params: ChunkedBuildParams;
  readonly #remote: Remote;
  readonly #previous: Head | undefined;
  readonly #previousBlobs: readonly RemoteBlob[];
  readonly #list = new BlobList();
  readonly #explanation: string[] = [];

  constructor(context: TreeContext, params: ChunkedBuildParams, remote: Remote) {
    this.#context = context;
    this.#params = params;
    this.#remote = remote;
    this.#previousBlobs = params.previous?.blobs ?? [];
    this.#previous = params.previous === undefined ? undefined : this.#readHead(params.previous);
  }

  async run(): Promise<ChunkedBuildResult> {
    const { tree, form } = this.#params;
    if (this.#previous !== undefined && this.#isAsBefore(this.#previous)) {
      return { layers: this.#previousBlobs.map(plain), made: [], explanation: ['the chunked form stays as it is'] };
    }
    const base = this.#previous === undefined ? undefined : presentStream(this.#context, this.#previous.tree.id);
    const own = streamOf(this.#context, tree, base === undefined ? [] : [base]);
    const headTree = this.#treeOf(tree);
    const layers = form === 'both' ? this.#layers(own) : [];
    const streams: ListedStream[] = [listed(own), ...layers.map(({ stream }) => stream)];
    const { streamPacks, chunks } = this.#streamPacks(streams);
    const places = new Map(chunks.map(({ id }, index) => [id, index]));
    const placesOf = ({ ids }: ListedStream) => ids.map((id) => places.get(id) ?? 0); // every chunk of a stream was placed
    const packs = await this.#packs(own);
    const head: Head = {
      streamPacks,
      chunks,
      tree: { ...headTree, stream: placesOf(listed(own)) },
      layers: layers.map(({ stream, ...layer }) => ({ ...layer, tree: { ...layer.tree, stream: placesOf(stream) } })),
      packs,
      deltas: await makeDeltas(this.#context, this.#list, { base, own, chunks, explain: (line) => this.#explanation.push(line) }),
    };
    const bytes = encodeHead(head);
    this.#list.setHead(storeBlob(this.#context, ChunkedType.head, [bytes]));
    return { layers: this.#list.descriptors, made: this.#list.made, explanation: this.#explanation };
  }

  /** The same tree in the same layers: whoever pushes it again leaves the manifest as it is. */
  #isAsBefore({ tree, layers, packs }: Head): boolean {
    const { form, layers: wanted } = this.#params;
    if (tree.id !== this.#params.tree) return false;
    if (form === 'chunked') {
      if (layers.length > 0 || packs.some(({ blob }) => this.#previousBlobs[blob]?.mediaType !== ChunkedType.pack)) return false;
      // What the registry has lost is made again, and not listed once more.
      this.#remote.whole(packs.flatMap(({ table }) => (table === undefined ? [] : (this.#previousBlobs[table] ?? []))));
      return true;
    }
    const tables = new Map(packs.map(({ blob, table }) => [blob, table === undefined ? undefined : this.#previousBlobs[table]?.digest]));
    return (
      layers.length === wanted.length &&
      layers.every(({ blob, diffId, tree: own }, index) => {
        const [one, listed] = [wanted[index], this.#previousBlobs[blob]];
        return (
          one !== undefined &&
          listed?.digest === one.digest &&
          listed.mediaType === one.mediaType &&
          diffId === one.diffId &&
          own.id === one.tree &&
          tables.get(blob) === one.table?.digest
        );
      })
    );
  }

  #readHead({ head, blobs }: { head: Digest; blobs: readonly RemoteBlob[] }): Head | undefined {
    try {
      return decodeHead(readFileSync(join(this.#context.paths.blobs, 'sha256', hexOf(head))), blobs, `head ${head}`);
    } catch (error) {
      if (!isFallback(error)) throw error;
      this.#explanation.push(`the chunked form that the tag has cannot be gone on from: ${error.message}`);
      return undefined;
    }
  }

  #treeOf(tree: TreeId): HeadTree {
    const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs, hardlinks } = this.#context.root(tree);
    return { id: tree, meta: { mode, uid, gid, mtimeSec, mtimeNsec, xattrs }, hardlinks, stream: [] };
  }

  /** A layer whose content is not here is told as the previous head does. */
  #layers(own: CachedStream): (HeadLayerEntry & { stream: ListedStream })[] {
    const known = new Map(this.#previous?.layers.map((layer) => [this.#previousBlobs[layer.blob]?.digest, layer] as const));
    const layers: (HeadLayerEntry & { stream: ListedStream })[] = [];
    for (const { digest, sizeBytes, mediaType, diffId, tree, implied } of this.#params.layers) {
      const blob = this.#list.add({ mediaType, digest, size: sizeBytes });
      const before = known.get(digest);
      const isAsBefore = before?.tree.id === tree;
      const stream = isAsBefore ? undefined : this.#streamOfLayer(tree, own);
      if (before !== undefined && stream === undefined) {
        layers.push({ ...before, blob, stream: this.#asBefore(before.tree) });
        continue;
      }
      if (stream === undefined) {
        // A list that lacks one would be taken for the whole.
        this.#explanation.push(`the head does not tell of layers: not all content of ${digest} is here`);
        return [];
      }
      layers.push({ blob, diffId, tree: this.#treeOf(tree), implied, stream: listed(stream) });
    }
    return layers;
  }

  #streamOfLayer(tree: TreeId, own: CachedStream): CachedStream | undefined {
    try {
      return streamOf(this.#context, tree, [own], false);
    } catch (error) {
      if (error instanceof LayerNotWhole) return undefined;
      throw error;
    }
  }

  #asBefore({ stream }: HeadTree): ListedStream {
    const chunks = stream.map((index) => this.#previous?.chunks[index]).filter((chunk) => chunk !== undefined);
    return { ids: chunks.map(({ id }) => id), lengths: chunks.map(({ length }) => length), bytesOf: () => undefined };
  }

  /** What the previous head lists stays where it is, the rest goes into a new pack; all of it when the old packs are too many or mostly dead. */
  #streamPacks(streams: readonly ListedStream[]): { streamPacks: number[]; chunks: StreamPlace[] } {
    const old = new Map(this.#previous?.chunks.map((place) => [place.id, place]));
    const wanted = new Map<ChunkId, { length: number; bytes: () => Buffer | undefined }>();
    for (const { ids, lengths, bytesOf } of streams) {
      for (const [index, id] of ids.entries()) {
        const known = wanted.get(id);
        const bytes = () => known?.bytes() ?? bytesOf(index);
        wanted.set(id, { length: lengths[index] ?? 0, bytes });
      }
    }
    const rewrite = this.#isWorn([...wanted.keys()].flatMap((id) => old.get(id) ?? []));
    if (rewrite)
      this.#explanation.push('the stream packs are written anew: most of what they held is no longer needed, or they are too many');
    const chunks: StreamPlace[] = [];
    const packs = new Map<number, number>();
    const fresh: { id: ChunkId; length: number; bytes: () => Buffer | undefined }[] = [];
    for (const [id, { length, bytes }] of wanted) {
      const place = rewrite ? undefined : old.get(id);
      if (place === undefined) {
        fresh.push({ id, length, bytes });
        continue;
      }
      if (!packs.has(place.pack)) packs.set(place.pack, packs.size);
      chunks.push({ ...place, pack: packs.get(place.pack) ?? 0 });
    }
    const streamPacks = [...packs.keys()].map((pack) => this.#list.add(this.#previousBlob(this.#previous?.streamPacks[pack])));
    if (fresh.length === 0) return { streamPacks, chunks };
    const { blob, places } = this.#writeStreamPack(fresh, old);
    streamPacks.push(this.#list.addMade(blob));
    return { streamPacks, chunks: [...chunks, ...places.map((place) => ({ ...place, pack: streamPacks.length - 1 }))] };
  }

  #isWorn(live: readonly StreamPlace[]): boolean {
    if (live.length === 0 || this.#previous === undefined) return false;
    const used = new Set(live.map(({ pack }) => pack));
    const listedBytes = [...used].reduce((sum, pack) => sum + this.#previousBlob(this.#previous?.streamPacks[pack]).size, 0);
    const liveBytes = live.reduce((sum, { compressed }) => sum + compressed, 0);
    return used.size >= maxStreamPacks || liveBytes * 2 < listedBytes;
  }

  #previousBlob(index: number | undefined): Descriptor & { digest: Digest } {
    const blob = this.#previousBlobs[index ?? -1];
    if (blob === undefined) throw new Error('the previous head was checked against these blobs');
    return blob;
  }

  #writeStreamPack(
    fresh: readonly { id: ChunkId; length: number; bytes: () => Buffer | undefined }[],
    old: ReadonlyMap<ChunkId, StreamPlace>,
  ): { blob: Descriptor & { digest: Digest }; places: Omit<StreamPlace, 'pack'>[] } {
    const copies = this.#fetchFrames(fresh.flatMap(({ id, bytes }) => (bytes() === undefined ? (old.get(id) ?? []) : [])));
    const frames: Buffer[] = [];
    const places: Omit<StreamPlace, 'pack'>[] = [];
    let offset = 0;
    for (const { id, length, bytes } of fresh) {
      const plain = bytes();
      const frame = plain === undefined ? copies(id) : compress(plain);
      frames.push(frame);
      places.push({ id, offset, compressed: frame.length, length });
      offset += frame.length;
    }
    return { blob: storeBlob(this.#context, ChunkedType.stream, frames), places };
  }

  /** Frames of old packs whose plain bytes are not here. */
  #fetchFrames(places: readonly StreamPlace[]): (id: ChunkId) => Buffer {
    const byPack = Map.groupBy(places, ({ pack }) => pack);
    const byId = new Map(places.map((place) => [place.id, place]));
    const parts = new Map(
      [...byPack].map(([pack, of]) => {
        const ranges = of.map(({ offset, compressed }) => ({ offset, length: compressed }));
        return [pack, this.#remote.parts(this.#previousBlob(this.#previous?.streamPacks[pack]), joinRanges(ranges, maxRequestBytes))];
      }),
    );
    return (id) => {
      const place = byId.get(id);
      const from = place === undefined ? undefined : parts.get(place.pack);
      if (place === undefined || from === undefined) throw new Error('a stream chunk is neither here nor listed');
      return Buffer.from(from.read(place.offset, place.compressed));
    };
  }

  async #packs(own: CachedStream): Promise<HeadPack[]> {
    const previous = this.#previous === undefined ? undefined : { head: this.#previous, blobs: this.#previousBlobs };
    return buildPacks(this.#context, this.#remote, this.#list, {
      ...this.#params,
      own,
      previous,
      explain: (line) => this.#explanation.push(line),
    });
  }
}

function plain({ mediaType, digest, size }: RemoteBlob): Descriptor & { digest: Digest } {
  return { mediaType, digest, size };
}

function listed({ chunks, bytes }: CachedStream): ListedStream {
  return {
    ids: chunks.map(({ id }) => id),
    lengths: chunks.map(({ length }) => length),
    bytesOf: (index) => {
      const chunk = chunks[index];
      return chunk && bytes.subarray(chunk.offset, chunk.offset + chunk.length);
    },
  };
}

function compress(bytes: Uint8Array): Buffer {
  return zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: 6 } });
}

/** Puts a blob among the store's, durable. */
export function storeBlob(context: TreeContext, mediaType: string, pieces: Iterable<Uint8Array>): Descriptor & { digest: Digest } {
  const file = new BlobFile(context);
  try {
    for (const piece of pieces) file.write(piece);
    return { mediaType, size: file.sizeBytes, digest: file.publish() };
  } finally {
    file.close();
  }
}
