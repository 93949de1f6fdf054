import { crc32 } from 'node:zlib';
import { digestOf, type Hex, hexOf, newHash } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import type { LayerCompression } from '../port.ts';
import { FrameCache, type FramePlace } from './cache.ts';
import { compressFrame, compressionRecipe, freeFrame } from './compress.ts';
import { cutFrames, FrameMemory, type PlainFrame } from './cutter.ts';
import { BlobFile } from './durable-blob.ts';
import type { ChunkId, FrameTable, MadeFrames } from './model.ts';
import { type ObjectPart, partsOfChunks, partsOfLayer } from './parts.ts';
import { encodeFrameTable } from './table.ts';

export type FramesParams = {
  readonly items:
    | { readonly kind: 'layer' /** The layer's own tree; names that begin with `.wh.` are deletions. */; readonly tree: TreeId }
    | { readonly kind: 'chunks'; readonly chunks: readonly ObjectPart[] };
  readonly compression: LayerCompression;
};

/** Progress: bytes of plain content done so far, and the first bytes of the blob, which are in a file and stay as they are. */
export type FramesProgress = { readonly bytes: number; readonly file: string; readonly written: number };

/** Frames that are being compressed at once, or are waiting for one before them: what bounds the job's memory. */
const window = 8;
const reportEveryBytes = 8 << 20;

/** Job `transport.frames`: makes a blob of frames, and its table's; both are durable among the store's blobs. DataLoss `OBJECT_DAMAGED`. */
export async function makeFrames(context: TreeContext, { items, compression }: FramesParams): Promise<MadeFrames> {
  const cache = new FrameCache(context.paths);
  const memory = new FrameMemory();
  const writer = new FrameWriter(context, { cache, memory }, compression);
  try {
    const parts = items.kind === 'layer' ? partsOfLayer(context, items.tree) : partsOfChunks(context, items.chunks);
    for (const frame of cutFrames(parts, memory)) await writer.add(frame);
    return await writer.finish();
  } finally {
    writer.close();
    cache.close();
  }
}

type Pending = { readonly frame: PlainFrame; readonly key: Buffer; readonly compressed: Promise<Buffer> };

/** Compresses side by side, writes in order. */
class FrameWriter {
  readonly #context: TreeContext;
  readonly #cache: FrameCache;
  readonly #memory: FrameMemory;
  readonly #compression: LayerCompression;
  readonly #recipe: string;
  readonly #blob: BlobFile;
  readonly #plainHash = newHash();
  readonly #pending: Pending[] = [];
  readonly #places: FramePlace[] = [];
  readonly #frames: { compressed: number; plain: number }[] = [];
  readonly #chunks = new Map<ChunkId, { id: ChunkId; frame: number; offset: number; length: number }>();
  #plainBytes = 0;
  #reported = 0;

  constructor(context: TreeContext, { cache, memory }: { cache: FrameCache; memory: FrameMemory }, compression: LayerCompression) {
    this.#context = context;
    this.#cache = cache;
    this.#memory = memory;
    this.#compression = compression;
    this.#recipe = compressionRecipe(compression);
    this.#blob = new BlobFile(context);
  }

  async add(frame: PlainFrame): Promise<void> {
    this.#plainHash.update(frame.plain);
    const caches = this.#compression !== 'none';
    const key = caches ? FrameCache.key(frame, this.#recipe) : Buffer.alloc(0);
    const known = caches ? this.#cache.get(key) : undefined;
    const compressed = known === undefined ? compressFrame(frame.plain, this.#compression) : Promise.resolve(known);
    // Awaited in its turn; a failure before that must not count as unhandled.
    compressed.catch(() => undefined);
    this.#pending.push({ frame, key, compressed });
    if (this.#pending.length >= window) await this.#writeOldest();
  }

  async finish(): Promise<MadeFrames> {
    while (this.#pending.length > 0) await this.#writeOldest();
    const table = this.#writeTable();
    const digest = this.#blob.publish();
    if (this.#compression !== 'none') this.#cache.add(hexOf(digest), this.#places, this.#context.tmpDir);
    return {
      digest,
      diffId: digestOf(this.#plainHash.digest('hex') as Hex),
      sizeBytes: this.#blob.sizeBytes,
      plainBytes: this.#plainBytes,
      table,
    };
  }

  close(): void {
    this.#blob.close();
  }

  async #writeOldest(): Promise<void> {
    const oldest = this.#pending.shift();
    if (oldest === undefined) return;
    const { frame, key } = oldest;
    const compressed = await oldest.compressed;
    this.#places.push({ key, offset: this.#blob.sizeBytes, length: compressed.length, crc: crc32(compressed) });
    const number = this.#frames.length;
    // A chunk that comes again is in the table once, where it came first.
    for (const { id, offset, length } of frame.chunks)
      if (!this.#chunks.has(id)) this.#chunks.set(id, { id, frame: number, offset, length });
    this.#frames.push({ compressed: compressed.length, plain: frame.plain.length });
    this.#blob.write(compressed);
    this.#plainBytes += frame.plain.length;
    this.#memory.giveBack(frame);
    if (compressed !== frame.plain) freeFrame(compressed);
    if (this.#plainBytes - this.#reported < reportEveryBytes) return;
    this.#reported = this.#plainBytes;
    const progress: FramesProgress = { bytes: this.#plainBytes, file: this.#blob.path, written: this.#blob.sizeBytes };
    this.#context.report(progress);
  }

  #writeTable(): MadeFrames['table'] {
    const table: FrameTable = { compression: this.#compression, frames: this.#frames, chunks: [...this.#chunks.values()] };
    const blob = new BlobFile(this.#context);
    try {
      blob.write(encodeFrameTable(table));
      return { digest: blob.publish(), sizeBytes: blob.sizeBytes };
    } finally {
      blob.close();
    }
  }
}
