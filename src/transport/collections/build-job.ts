import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { type Digest, digestOf, hexOf } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { BlobList } from '../chunked/blob-list.ts';
import { storeBlob } from '../chunked/build-job.ts';
import { decodeHead, encodeHead, type Head, type HeadLayerEntry, type HeadPack, type HeadTree, type StreamPlace } from '../chunked/head.ts';
import { ChunkedType } from '../chunked/port.ts';
import { type Channel, joinRanges, Remote, type RemoteBlob } from '../chunked/remote.ts';
import { encodeStream } from '../chunked/stream/encode.ts';
import { FileChunks } from '../chunked/stream/file-chunks.ts';
import { cutStream, type TreeStream } from '../chunked/stream/tree-stream.ts';
import { BlobFile } from '../frames/durable-blob.ts';
import { makeFrames } from '../frames/job.ts';
import type { ChunkId } from '../frames/model.ts';
import type { ObjectPart } from '../frames/parts.ts';
import { TreeContents } from './contents.ts';
import type { CollectedTree } from './port.ts';

export type CollectionBuildParams = {
  readonly trees: readonly TreeId[];
  /** The head, among the store's blobs; what it lists; and the trees that stay. */
  readonly previous?:
    | { readonly head: Digest; readonly blobs: readonly RemoteBlob[]; readonly trees: readonly CollectedTree[] }
    | undefined;
  readonly empty: TreeId;
  readonly channel: Channel;
};

export type CollectionBuildResult = {
  readonly blobs: readonly (Descriptor & { digest: Digest })[];
  readonly made: readonly Digest[];
  readonly trees: readonly CollectedTree[];
  readonly sizes: readonly (readonly [tree: TreeId, bytes: number])[];
};

const maxStreamPacks = 16;
const maxRequestBytes = 1 << 20;

/** Job `transport.collection-build`. */
export async function buildCollection(context: TreeContext, params: CollectionBuildParams): Promise<CollectionBuildResult> {
  const remote = new Remote(context, params.channel);
  try {
    const result = await new CollectionBuilder(context, params, remote).run();
    remote.forget();
    return result;
  } finally {
    remote.close();
  }
}

type Previous = { readonly head: Head; readonly blobs: readonly RemoteBlob[] };
type Kept = { readonly layer: HeadLayerEntry; readonly packs: readonly number[] };

class CollectionBuilder {
  readonly #context: TreeContext;
  readonly #params: CollectionBuildParams;
  readonly #remote: Remote;
  readonly #previous: Previous | undefined;
  readonly #list = new BlobList();

  constructor(context: TreeContext, params: CollectionBuildParams, remote: Remote) {
    this.#context = context;
    this.#params = params;
    this.#remote = remote;
    const { previous } = params;
    if (previous === undefined) return;
    const bytes = readFileSync(join(context.paths.blobs, 'sha256', hexOf(previous.head)));
    this.#previous = { head: decodeHead(bytes, previous.blobs, `head ${previous.head}`), blobs: previous.blobs };
  }

  async run(): Promise<CollectionBuildResult> {
    const kept = this.#kept();
    const stays = new Set(kept.map(({ layer }) => layer.tree.id));
    const fresh = [...new Set(this.#params.trees)].filter((tree) => !stays.has(tree));
    const { packs, renumbered, places } = this.#oldPacks(kept, fresh.length > 0);
    const chunks = new FileChunks(this.#context);
    const contents = new TreeContents(this.#context, { known: places, firstPack: packs.length, chunks });
    const roots = fresh.map((tree) => ({ tree, root: this.#context.root(tree) }));
    const collected = roots.map(({ tree, root }) => ({ id: tree, packs: contents.add(root.full) }));
    for (const batch of contents.batches) packs.push(await this.#pack(batch));
    const streams = new StreamPacks(this.#context, this.#remote, this.#list, this.#previous, kept);
    const keptTrees = kept.map(({ layer }) => ({ ...layer, blob: 0, tree: { ...layer.tree, stream: streams.keep(layer.tree) } }));
    const freshTrees = this.#streams(roots, streams, chunks);
    const { empty } = this.#params;
    const head: Head = {
      ...streams.finish(),
      tree: { ...headTree(this.#context, empty), stream: [] },
      layers: [...keptTrees, ...freshTrees],
      packs,
      deltas: [],
    };
    this.#list.setHead(storeBlob(this.#context, ChunkedType.head, [encodeHead(head)]));
    const trees = [
      ...kept.map(({ layer, packs: of }) => ({ id: layer.tree.id, packs: of.map((pack) => renumbered.get(pack) ?? 0) })),
      ...collected,
    ];
    return {
      blobs: this.#list.descriptors,
      made: this.#list.made,
      trees,
      sizes: roots.map(({ tree, root }) => [tree, contents.sizeOf(root.full)]),
    };
  }

  #kept(): Kept[] {
    const { previous } = this.#params;
    const packs = new Map(previous?.trees.map((tree) => [tree.id, tree.packs]));
    const count = this.#previous?.head.packs.length ?? 0;
    return (this.#previous?.head.layers ?? []).flatMap((layer) => {
      const of = packs.get(layer.tree.id);
      return of === undefined || of.some((pack) => pack >= count) ? [] : [{ layer, packs: of }];
    });
  }

  /** Packs that trees which stay are in, and where chunks are in them. */
  #oldPacks(kept: readonly Kept[], look: boolean): { packs: HeadPack[]; renumbered: Map<number, number>; places: Map<ChunkId, number> } {
    const renumbered = new Map<number, number>();
    const packs: HeadPack[] = [];
    const tables: { table: RemoteBlob; pack: number }[] = [];
    for (const old of [...new Set(kept.flatMap(({ packs: of }) => of))].sort((a, b) => a - b)) {
      const listed = this.#previous?.head.packs[old];
      const blob = this.#previous?.blobs[listed?.blob ?? -1];
      const table = this.#previous?.blobs[listed?.table ?? -1];
      if (blob === undefined || table === undefined) throw new Error('the previous head was checked against these blobs');
      renumbered.set(old, packs.length);
      tables.push({ table, pack: packs.length });
      packs.push({ blob: this.#list.add(blob), table: this.#list.add(table) });
    }
    const places = new Map<ChunkId, number>();
    if (look) {
      const files = this.#remote.whole(tables.map(({ table }) => table));
      for (const { table, pack } of tables) TreeContents.readTable(files.get(table.digest), table, pack, places);
    }
    return { packs, renumbered, places };
  }

  async #pack(chunks: readonly ObjectPart[]): Promise<HeadPack> {
    const made = await makeFrames(this.#context, { items: { kind: 'chunks', chunks }, compression: 'zstd' });
    const blob = this.#list.addMade({ mediaType: ChunkedType.pack, digest: made.digest, size: made.sizeBytes });
    const table = this.#list.addMade({ mediaType: ChunkedType.table, digest: made.table.digest, size: made.table.sizeBytes });
    return { blob, table };
  }

  /** One after the other: each stream is made out of the one before where their directories are the same. */
  #streams(
    roots: readonly { tree: TreeId; root: Parameters<typeof encodeStream>[1] }[],
    streams: StreamPacks,
    chunks: FileChunks,
  ): HeadLayerEntry[] {
    let base: TreeStream | undefined;
    return roots.map(({ tree, root }) => {
      const stream: TreeStream = encodeStream(this.#context, root, chunks, base);
      base = stream;
      const entry = { ...headTree(this.#context, tree), stream: streams.add(stream) };
      return { blob: 0, diffId: digestOf(tree), tree: entry, implied: [] };
    });
  }
}

function headTree(context: TreeContext, tree: TreeId): HeadTree {
  const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs, hardlinks } = context.root(tree);
  return { id: tree, meta: { mode, uid, gid, mtimeSec, mtimeNsec, xattrs }, hardlinks, stream: [] };
}

/** The chunks of streams: those of trees that stay where they are, the others in one new pack; all in the new one when the old ones are too many or mostly dead. */
class StreamPacks {
  readonly #context: TreeContext;
  readonly #list: BlobList;
  readonly #previous: Previous | undefined;
  readonly #index = new Map<ChunkId, number>();
  readonly #chunks: StreamPlace[] = [];
  readonly #packs: number[] = [];
  #file: BlobFile | undefined;
  readonly #ownPack: number;

  constructor(context: TreeContext, remote: Remote, list: BlobList, previous: Previous | undefined, kept: readonly Kept[]) {
    this.#context = context;
    this.#list = list;
    this.#previous = previous;
    const live = this.#live(kept);
    const byPack = Map.groupBy(live, ({ pack }) => pack);
    const isWorn = byPack.size >= maxStreamPacks || this.#isMostlyDead(byPack);
    if (!isWorn) {
      for (const [pack, places] of byPack) {
        for (const place of places) this.#place(place.id, { ...place, pack: this.#packs.length });
        this.#packs.push(list.add(this.#blob(pack)));
      }
    }
    this.#ownPack = this.#packs.length;
    if (isWorn) for (const [pack, places] of byPack) this.#copy(remote, pack, places);
  }

  /** The chunks of a tree of before, as they are numbered now. */
  keep({ stream }: HeadTree): number[] {
    return stream.map((chunk) => this.#index.get(this.#previous?.head.chunks[chunk]?.id ?? ('' as ChunkId)) ?? 0);
  }

  add(stream: TreeStream): number[] {
    return cutStream(stream.bytes).map(({ id, offset, length }) => {
      const known = this.#index.get(id);
      if (known !== undefined) return known;
      const plain = stream.bytes.subarray(offset, offset + length);
      return this.#write(id, zstdCompressSync(plain, { params: { [constants.ZSTD_c_compressionLevel]: 6 } }), length);
    });
  }

  finish(): Pick<Head, 'streamPacks' | 'chunks'> {
    if (this.#file !== undefined) {
      const size = this.#file.sizeBytes;
      this.#packs.push(this.#list.addMade({ mediaType: ChunkedType.stream, size, digest: this.#file.publish() }));
      this.#file.close();
    }
    return { streamPacks: this.#packs, chunks: this.#chunks };
  }

  #live(kept: readonly Kept[]): StreamPlace[] {
    const live = new Set<number>();
    for (const { layer } of kept) for (const chunk of layer.tree.stream) live.add(chunk);
    return [...live].flatMap((chunk) => this.#previous?.head.chunks[chunk] ?? []);
  }

  #isMostlyDead(byPack: ReadonlyMap<number, readonly StreamPlace[]>): boolean {
    let live = 0;
    let listed = 0;
    for (const [pack, places] of byPack) {
      listed += this.#blob(pack).size;
      for (const { compressed } of places) live += compressed;
    }
    return live * 2 < listed;
  }

  #blob(pack: number): RemoteBlob {
    const blob = this.#previous?.blobs[this.#previous.head.streamPacks[pack] ?? -1];
    if (blob === undefined) throw new Error('the previous head was checked against these blobs');
    return blob;
  }

  #copy(remote: Remote, pack: number, places: readonly StreamPlace[]): void {
    const sorted = [...places].sort((a, b) => a.offset - b.offset);
    const ranges = sorted.map(({ offset, compressed }) => ({ offset, length: compressed }));
    const parts = remote.parts(this.#blob(pack), joinRanges(ranges, maxRequestBytes));
    for (const { id, offset, compressed, length } of sorted) this.#write(id, parts.read(offset, compressed), length);
  }

  #write(id: ChunkId, frame: Buffer, length: number): number {
    this.#file ??= new BlobFile(this.#context);
    const offset = this.#file.sizeBytes;
    this.#file.write(frame);
    return this.#place(id, { id, pack: this.#ownPack, offset, compressed: frame.length, length });
  }

  #place(id: ChunkId, place: StreamPlace): number {
    this.#index.set(id, this.#chunks.length);
    this.#chunks.push(place);
    return this.#chunks.length - 1;
  }
}
