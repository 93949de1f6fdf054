import type { Graph } from '../store/collect/graph.ts';

/** What an item holds: numbers of trees in the graph, and of blobs. */
export type Holding = { readonly trees: readonly number[]; readonly blobs: readonly number[]; readonly ownBytes: number };

/**
 * Counts who holds what, so that the bytes that one more removal frees are exact: an object that several trees share is freed with the last of them, and
 * counted once. Taking something out costs as much time as what it frees is large.
 */
export class Ledger {
  readonly #graph: Graph;
  readonly #trees: Int32Array;
  readonly #nodes: Int32Array;
  readonly #objects: Int32Array;
  readonly #blobs: Int32Array;
  readonly #blobBytes: Float64Array;
  readonly #block: number;

  /** `block`: what a file of one byte takes on the disk. */
  constructor(graph: Graph, blobBytes: Float64Array, block: number) {
    this.#graph = graph;
    this.#trees = new Int32Array(graph.trees.count);
    this.#nodes = new Int32Array(graph.nodes.count);
    this.#objects = new Int32Array(graph.objects.count);
    this.#blobs = new Int32Array(blobBytes.length);
    this.#blobBytes = blobBytes;
    this.#block = block;
  }

  /** Gives the bytes that nobody held before. */
  add({ trees, blobs, ownBytes }: Holding): number {
    let bytes = ownBytes;
    for (const tree of trees) if (raised(this.#trees, tree) === 1) bytes += this.#addNode(this.#graph.treeNodes.at(tree));
    for (const blob of blobs) if (raised(this.#blobs, blob) === 1) bytes += this.#onDisk(this.#blobBytes[blob] ?? 0);
    return bytes;
  }

  /** Gives the bytes that nobody holds any more. */
  remove({ trees, blobs, ownBytes }: Holding): number {
    let bytes = ownBytes;
    for (const tree of trees) if (lowered(this.#trees, tree) === 0) bytes += this.#removeNode(this.#graph.treeNodes.at(tree));
    for (const blob of blobs) if (lowered(this.#blobs, blob) === 0) bytes += this.#onDisk(this.#blobBytes[blob] ?? 0);
    return bytes;
  }

  /** Of what no holding that was added holds. */
  get unheld(): { trees: number; objects: number; blobs: number; bytes: number } {
    const unheld = { trees: 0, objects: 0, blobs: 0, bytes: 0 };
    for (const count of this.#trees) if (count === 0) unheld.trees++;
    for (let object = 0; object < this.#objects.length; object++) {
      if (this.#objects[object] !== 0) continue;
      unheld.objects++;
      unheld.bytes += this.#onDisk(this.#graph.sizeOf(object));
    }
    for (let blob = 0; blob < this.#blobs.length; blob++) {
      if (this.#blobs[blob] !== 0) continue;
      unheld.blobs++;
      unheld.bytes += this.#onDisk(this.#blobBytes[blob] ?? 0);
    }
    return unheld;
  }

  #addNode(root: number): number {
    let bytes = 0;
    const stack = [root];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (raised(this.#nodes, node) > 1) continue;
      this.#graph.files(node, (object) => {
        if (raised(this.#objects, object) === 1) bytes += this.#onDisk(this.#graph.sizeOf(object));
      });
      this.#graph.children(node, (child) => stack.push(child));
    }
    return bytes;
  }

  #removeNode(root: number): number {
    let bytes = 0;
    const stack = [root];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (lowered(this.#nodes, node) > 0) continue;
      this.#graph.files(node, (object) => {
        if (lowered(this.#objects, object) === 0) bytes += this.#onDisk(this.#graph.sizeOf(object));
      });
      this.#graph.children(node, (child) => stack.push(child));
    }
    return bytes;
  }

  #onDisk(bytes: number): number {
    return Math.ceil(bytes / this.#block) * this.#block;
  }
}

function raised(counts: Int32Array, index: number): number {
  const count = (counts[index] ?? 0) + 1;
  counts[index] = count;
  return count;
}

function lowered(counts: Int32Array, index: number): number {
  const count = (counts[index] ?? 0) - 1;
  counts[index] = count;
  return count;
}
