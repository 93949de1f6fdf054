import type { DatabaseSync } from 'node:sqlite';
import { forEachReference, rootNodeOffset } from '../tree/references.ts';
import { DigestTable, IntList } from './digest-table.ts';

/**
 * Every node, what it refers to, and every tree, as numbers: some 60 bytes a node and 50 an object. Read in one go from what is committed; the reader's
 * transaction makes it one moment's view.
 */
export class Graph {
  readonly nodes = new DigestTable();
  readonly objects = new DigestTable();
  readonly trees = new DigestTable();
  /** By tree: the number of its root directory's node. */
  readonly treeNodes = new IntList();
  readonly #sizes: number[] = [];
  /** By node, 1 + its place in the list of those that were read; 0 for one that is only referred to, which is damage. */
  #rows = new Int32Array(1024);
  readonly #childrenFrom = new IntList();
  readonly #children = new IntList();
  readonly #filesFrom = new IntList();
  readonly #files = new IntList();

  /** `onNode` is called between nodes, so that a long read can be cancelled. */
  static read(database: DatabaseSync, onNode: () => void = () => {}): Graph {
    const graph = new Graph();
    let count = 0;
    for (const row of database.prepare('SELECT full, bytes FROM nodes').iterate()) {
      if (++count % 512 === 0) onNode();
      graph.#addNode(asBuffer(row.full), row.bytes as Uint8Array);
    }
    graph.#childrenFrom.push(graph.#children.length);
    graph.#filesFrom.push(graph.#files.length);
    for (const row of database.prepare('SELECT id, bytes FROM trees').iterate()) {
      const bytes = row.bytes as Uint8Array;
      graph.trees.intern(asBuffer(row.id));
      graph.treeNodes.push(graph.nodes.intern(asBuffer(bytes), rootNodeOffset(bytes)));
    }
    return graph;
  }

  hasNode(node: number): boolean {
    return (this.#rows[node] ?? 0) !== 0;
  }

  /** In bytes, as the entries say. */
  sizeOf(object: number): number {
    return this.#sizes[object] ?? 0;
  }

  /** Calls `visit` with each subdirectory's node, a node that is there twice twice. */
  children(node: number, visit: (child: number) => void): void {
    const row = (this.#rows[node] ?? 0) - 1;
    if (row < 0) return;
    const end = this.#childrenFrom.at(row + 1);
    for (let i = this.#childrenFrom.at(row); i < end; i++) visit(this.#children.at(i));
  }

  /** Calls `visit` with each file's object, one that is there twice twice. */
  files(node: number, visit: (object: number) => void): void {
    const row = (this.#rows[node] ?? 0) - 1;
    if (row < 0) return;
    const end = this.#filesFrom.at(row + 1);
    for (let i = this.#filesFrom.at(row); i < end; i++) visit(this.#files.at(i));
  }

  #addNode(full: Buffer, bytes: Uint8Array): void {
    const node = this.nodes.intern(full);
    const row = this.#childrenFrom.length;
    this.#childrenFrom.push(this.#children.length);
    this.#filesFrom.push(this.#files.length);
    if (node >= this.#rows.length) this.#rows = widened(this.#rows, node);
    this.#rows[node] = row + 1;
    forEachReference(
      bytes,
      (buffer, offset, size) => {
        const object = this.objects.intern(buffer, offset);
        this.#sizes[object] = size;
        this.#files.push(object);
      },
      (buffer, offset) => this.#children.push(this.nodes.intern(buffer, offset)),
    );
  }
}

function widened(rows: Int32Array<ArrayBuffer>, index: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * (index + 1));
  larger.set(rows);
  return larger;
}

function asBuffer(value: unknown): Buffer {
  const bytes = value as Uint8Array;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
