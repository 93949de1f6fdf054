import { closeSync, openSync, readSync } from 'node:fs';
import type { Hex } from '../../../oci/digest.ts';
import { EntryType, type FileEntry } from '../../../store/model.ts';
import type { TreeContext } from '../../../store/port.ts';
import { chunkOf, cutRead, fileChunks } from '../../frames/chunker.ts';
import type { Chunk } from '../../frames/model.ts';
import { chunksOf, readRecords } from './records.ts';

const readBytes = 1 << 20;
/** So much is read and cut before an earlier stream is searched for its lists: a search costs what cutting these bytes does. */
const cutBeforeSearch = 64 << 20;

/** The chunks of files. Lists of an earlier stream are taken over: only what is new is read. */
export class FileChunks {
  readonly #context: TreeContext;
  readonly #earlier: () => Uint8Array | undefined;
  #known: Map<Hex, readonly Chunk[]> | undefined;
  #cutBytes = 0;
  #scratch: Buffer | undefined;
  readonly #cut = new Map<Hex, readonly Chunk[] | undefined>();

  /** `earlier` is asked at most once, when it pays. */
  constructor(context: TreeContext, earlier: () => Uint8Array | undefined = () => undefined) {
    this.#context = context;
    this.#earlier = earlier;
  }

  /** Undefined for a file of one chunk. */
  of({ object, size }: FileEntry): readonly Chunk[] | undefined {
    if (size <= fileChunks.minBytes) return undefined;
    if (this.#known === undefined && this.#cutBytes + size > cutBeforeSearch) this.#search();
    const known = this.#known?.get(object);
    if (known !== undefined) return known;
    if (this.#cut.has(object)) return this.#cut.get(object);
    const chunks = this.#read(object);
    const listed = chunks.length > 1 ? chunks : undefined;
    this.#cutBytes += size;
    this.#cut.set(object, listed);
    return listed;
  }

  #search(): void {
    this.#known = new Map();
    const stream = this.#earlier();
    if (stream === undefined) return;
    for (const record of readRecords(stream)) {
      if (record.chunksAt !== 0 && record.entry.type === EntryType.file && !this.#known.has(record.entry.object)) {
        this.#known.set(record.entry.object, chunksOf(record, stream));
      }
    }
  }

  #read(object: Hex): Chunk[] {
    const fd = openSync(this.#context.objectPath(object), 'r');
    try {
      this.#scratch ??= Buffer.allocUnsafeSlow(readBytes);
      const read = (target: Buffer) => readSync(fd, target, 0, target.length, null);
      const chunks: Chunk[] = [];
      // Each is gone when the next one comes.
      for (const chunk of cutRead(read, this.#scratch)) chunks.push(chunkOf(chunk));
      return chunks;
    } finally {
      closeSync(fd);
    }
  }
}
