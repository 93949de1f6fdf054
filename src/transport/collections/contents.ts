import type { Hex } from '../../oci/digest.ts';
import { EntryType, type FileEntry } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import type { RemoteBlob } from '../chunked/remote.ts';
import type { FileChunks } from '../chunked/stream/file-chunks.ts';
import type { ChunkId } from '../frames/model.ts';
import type { ObjectPart } from '../frames/parts.ts';
import { decodeFrameTable } from '../frames/table.ts';

/** Plain bytes of a new pack. */
const batchBytes = 256 << 20;

type Directory = { readonly packs: readonly number[]; readonly sizeBytes: number };

/** The content of trees: which packs have it already, and what goes into new ones. Directories that trees have in common are looked at once. */
export class TreeContents {
  readonly #context: TreeContext;
  readonly #packOf: Map<ChunkId, number>;
  readonly #chunks: FileChunks;
  readonly #directories = new Map<Hex, Directory>();
  readonly #objects = new Map<Hex, readonly number[]>();
  readonly #firstPack: number;
  readonly batches: ObjectPart[][] = [];
  #batchBytes = batchBytes;

  /** `known`: the packs of chunks that have one; new packs are numbered from `firstPack` on, in the order of `batches`. */
  constructor(context: TreeContext, { known, firstPack, chunks }: { known: Map<ChunkId, number>; firstPack: number; chunks: FileChunks }) {
    this.#context = context;
    this.#packOf = known;
    this.#firstPack = firstPack;
    this.#chunks = chunks;
  }

  static readTable(file: Buffer | undefined, table: RemoteBlob, pack: number, into: Map<ChunkId, number>): void {
    if (file === undefined) return;
    for (const { id } of decodeFrameTable(file, `table ${table.digest}`).chunks) if (!into.has(id)) into.set(id, pack);
  }

  /** The packs that hold all below a directory, sorted. */
  add(full: Hex): readonly number[] {
    return this.#directory(full).packs;
  }

  sizeOf(full: Hex): number {
    return this.#directory(full).sizeBytes;
  }

  #directory(full: Hex): Directory {
    const known = this.#directories.get(full);
    if (known !== undefined) return known;
    const packs = new Set<number>();
    let sizeBytes = 0;
    for (const entry of this.#context.node(full)) {
      if (entry.type === EntryType.file) {
        for (const pack of this.#file(entry)) packs.add(pack);
        sizeBytes += entry.size;
      } else if (entry.type === EntryType.directory) {
        const below = this.#directory(entry.full);
        for (const pack of below.packs) packs.add(pack);
        sizeBytes += below.sizeBytes;
      }
    }
    const directory = { packs: [...packs].sort((a, b) => a - b), sizeBytes };
    this.#directories.set(full, directory);
    return directory;
  }

  #file(entry: FileEntry): readonly number[] {
    const { object, size } = entry;
    if (size === 0) return [];
    const seen = this.#objects.get(object);
    if (seen !== undefined) return seen;
    const chunks = this.#chunks.of(entry) ?? [{ id: object.slice(0, 32) as ChunkId, length: size }];
    let offset = 0;
    const packs = new Set<number>();
    for (const { id, length } of chunks) {
      packs.add(this.#packOf.get(id) ?? this.#new(id, { object, offset, length }));
      offset += length;
    }
    const of = [...packs];
    this.#objects.set(object, of);
    return of;
  }

  #new(id: ChunkId, part: ObjectPart): number {
    if (this.#batchBytes >= batchBytes) {
      this.batches.push([]);
      this.#batchBytes = 0;
    }
    this.batches.at(-1)?.push(part);
    this.#batchBytes += part.length;
    const pack = this.#firstPack + this.batches.length - 1;
    this.#packOf.set(id, pack);
    return pack;
  }
}
