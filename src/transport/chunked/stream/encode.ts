import { EngineError } from '../../../base/errors.ts';
import { type DirectoryEntry, type Entry, EntryType, type FileEntry, type Root } from '../../../store/model.ts';
import type { TreeContext } from '../../../store/port.ts';
import { ByteWriter } from '../../../store/tree/byte-writer.ts';
import type { FileChunks } from './file-chunks.ts';
import { absentAttribute, endMark, maxDepth, writeRecord } from './records.ts';
import { DirectoryTable, type TreeStream } from './tree-stream.ts';

/** A layer's tree that was made for comparing entries only (receive-tree.ts) has no stream: what its files consist of is not known here. */
export class LayerNotWhole extends EngineError {
  constructor() {
    super('Unsupported', 'LAYER_NOT_WHOLE', 'the content of a layer is not here');
  }
}

/** Serialises a tree. Throws LayerNotWhole. Directories that are in the stream `base` too are copied from there, without looking into them. */
export function encodeStream(context: TreeContext, root: Root, chunks: FileChunks, base?: TreeStream): TreeStream {
  return new StreamEncoder(context, chunks, base).encode(root);
}

class StreamEncoder {
  readonly #context: TreeContext;
  readonly #chunks: FileChunks;
  readonly #base: TreeStream | undefined;
  readonly #writer: ByteWriter;
  readonly #directories = new DirectoryTable();

  constructor(context: TreeContext, chunks: FileChunks, base: TreeStream | undefined) {
    this.#context = context;
    this.#chunks = chunks;
    this.#base = base;
    this.#writer = new ByteWriter(base === undefined ? 1 << 20 : base.bytes.length + (1 << 16));
  }

  encode(root: Root): TreeStream {
    const row = this.#directories.begin(0);
    this.#entries(this.#context.node(root.full), 0);
    this.#directories.finish(row, this.#writer.length, root);
    return { bytes: this.#writer.view(), directories: this.#directories };
  }

  #entries(entries: readonly Entry[], depth: number): void {
    if (depth > maxDepth) {
      throw new EngineError('Unsupported', 'TREE_TOO_DEEP', `the image has more than ${maxDepth} directories inside each other`, {
        hint: 'Push it with --format oci.',
      });
    }
    for (const entry of entries) {
      if (entry.xattrs?.some(([name]) => name === absentAttribute)) throw new LayerNotWhole();
      writeRecord(this.#writer, entry, entry.type === EntryType.file ? this.#chunks.of(entry as FileEntry) : undefined);
      if (entry.type === EntryType.directory) this.#directory(entry, depth);
    }
  }

  #directory(entry: DirectoryEntry, depth: number): void {
    const writer = this.#writer;
    const known = this.#base?.directories.withNode(entry.full);
    if (known !== undefined && this.#base !== undefined) {
      this.#directories.copy(this.#base.directories, known.start, known.end, writer.length - known.start);
      writer.raw(this.#base.bytes, known.start, known.end);
      return;
    }
    const row = this.#directories.begin(writer.length);
    this.#entries(this.#context.node(entry.full), depth + 1);
    writer.u8(endMark);
    this.#directories.finish(row, writer.length, entry);
  }
}
