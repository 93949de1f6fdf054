import type { Hex } from '../../oci/digest.ts';
import { type Commit, type CommitRoot, packNode, type Totals } from '../database/commit.ts';
import { type Entry, EntryType, type NodeDigests, type Root, type TreeId, type TreeRef } from '../model.ts';
import { PendingObjects } from '../objects/pending-objects.ts';
import type { WriterThread } from '../objects/writer-thread.ts';
import type { StorePaths, TreeContext } from '../port.ts';
import { ByteWriter } from '../tree/byte-writer.ts';
import { decodeNode, decodeRoot, encodeNode, encodeRoot } from '../tree/codec.ts';
import { findEntry } from '../tree/entries.ts';
import type { CancelFlag } from './cancel-flag.ts';
import { type NodeSource, nodeNotFound, treeNotFound } from './node-source.ts';
import type { Witness } from './witness.ts';

type PendingNode = { start: number; end: number; files: number; size: number; children: readonly Hex[] };
type Visit = (full: Hex, node: PendingNode, totals: Totals) => void;
const noChildren: readonly Hex[] = [];

/** One job's view of the store: what is committed, and what the job itself has put so far. */
export class JobContext implements TreeContext {
  readonly paths: StorePaths;
  readonly objects: PendingObjects;
  readonly report: (progress: unknown) => void;
  readonly #source: NodeSource;
  readonly #cancel: CancelFlag;
  readonly #nodes = new ByteWriter();
  readonly #pendingNodes = new Map<Hex, PendingNode>();
  readonly #roots = new Map<TreeId, { root: Root; ref: TreeRef; bytes: Uint8Array }>();
  readonly #decoded = new Map<Hex, readonly Entry[]>();

  constructor(options: {
    paths: StorePaths;
    tmpDir: string;
    source: NodeSource;
    cancel: CancelFlag;
    report: (progress: unknown) => void;
    startWriter?: ((folder: string) => WriterThread) | undefined;
    witness?: Witness | undefined;
  }) {
    this.paths = options.paths;
    this.objects = new PendingObjects(options.paths, options.tmpDir, options);
    this.#source = options.source;
    this.#cancel = options.cancel;
    this.report = (progress) => {
      this.checkpoint();
      options.report(progress);
    };
  }

  get tmpDir(): string {
    return this.objects.folder;
  }

  checkpoint(): void {
    this.#cancel.check();
  }

  root(id: TreeId): Root {
    const pending = this.#roots.get(id);
    if (pending !== undefined) return pending.root;
    const found = this.#source.root(id);
    if (found === undefined) throw treeNotFound(id);
    return decodeRoot(found.bytes, `the record of tree ${id}`);
  }

  node(full: Hex): readonly Entry[] {
    const cached = this.#decoded.get(full);
    if (cached !== undefined) return cached;
    this.checkpoint();
    const entries = decodeNode(this.#nodeBytes(full), `directory node ${full}`);
    this.#decoded.set(full, entries);
    return entries;
  }

  #nodeBytes(full: Hex): Uint8Array {
    const pending = this.#pendingNodes.get(full);
    if (pending !== undefined) return this.#nodes.view(pending.start, pending.end);
    const bytes = this.#source.node(full);
    if (bytes === undefined) throw nodeNotFound(full);
    return bytes;
  }

  /** Whether the node is committed. */
  hasNode(full: Hex): boolean {
    return this.#source.totals(full) !== undefined;
  }

  /** Totals of a root that was put; undefined when a node that it refers to is neither committed nor pending. */
  rootTotals(id: TreeId): Totals | undefined {
    const committed = this.#source.root(id);
    if (committed !== undefined) return committed.totals;
    return this.#rootTotals(this.root(id), new Map());
  }

  #rootTotals(root: Root, known: Map<Hex, Totals>, visit?: Visit): Totals | undefined {
    const totals = this.#totalsOf(root.full, known, visit);
    return totals && { ...totals, size: totals.size - this.#hardlinkedTwice(root) };
  }

  putNode(entries: readonly Entry[]): NodeDigests {
    this.checkpoint();
    const { start, end, full, content } = encodeNode(this.#nodes, entries);
    if (this.#pendingNodes.has(full)) this.#nodes.length = start;
    else this.#pendingNodes.set(full, { start, end, ...summarize(entries) });
    return { full, content };
  }

  putRoot(root: Root): TreeRef {
    const { start, end, id, content } = encodeRoot(this.#nodes, root);
    const ref = { id, content };
    if (!this.#roots.has(id)) this.#roots.set(id, { root, ref, bytes: Buffer.from(this.#nodes.view(start, end)) });
    this.#nodes.length = start;
    return ref;
  }

  putBytes(bytes: Uint8Array): { object: Hex; size: number } {
    this.checkpoint();
    return this.objects.putBytes(bytes);
  }

  putFile(fd: number): { object: Hex; size: number } {
    this.checkpoint();
    return this.objects.putFile(fd, () => this.checkpoint());
  }

  writeObject(): { write(chunk: Uint8Array): void; finish(): { object: Hex; size: number }; abort(): void } {
    const stream = this.objects.stream();
    return {
      write: (chunk) => {
        this.checkpoint();
        stream.write(chunk);
      },
      finish: () => stream.finish(),
      abort: () => stream.abort(),
    };
  }

  objectPath(object: Hex): string {
    return this.objects.path(object);
  }

  /** Every root that the job put, committed before or not. */
  rootIds(): TreeId[] {
    return [...this.#roots.keys()];
  }

  /**
   * Makes the objects durable, then gives what the transaction has to hold: the roots that are new and the new nodes that they reach.
   * Throws DataLoss `NODE_NOT_FOUND` when a root would refer to a node that is nowhere.
   */
  prepareCommit(): Commit | undefined {
    const fresh = [...this.#roots.values()].filter(({ ref }) => this.#source.root(ref.id) === undefined);
    if (fresh.length === 0) return undefined;
    this.checkpoint();
    const packed = new ByteWriter();
    const known = new Map<Hex, Totals>();
    const roots: CommitRoot[] = [];
    for (const { root, ref, bytes } of fresh) {
      const totals = this.#rootTotals(root, known, (full, node, below) =>
        packNode(packed, full, below, this.#nodes.view(node.start, node.end)),
      );
      if (totals === undefined) throw nodeNotFound(root.full);
      roots.push({ ...ref, bytes, totals });
    }
    this.objects.publish();
    return { nodes: packed.take(), roots };
  }

  /** Totals of a subtree, children before parents; `visit` is called once for each pending node. */
  #totalsOf(full: Hex, known: Map<Hex, Totals>, visit?: Visit): Totals | undefined {
    const seen = known.get(full);
    if (seen !== undefined) return seen;
    const node = this.#pendingNodes.get(full);
    if (node === undefined) {
      const committed = this.#source.totals(full);
      if (committed !== undefined) known.set(full, committed);
      return committed;
    }
    const totals = { files: node.files, directories: node.children.length, size: node.size };
    for (const child of node.children) {
      const below = this.#totalsOf(child, known, visit);
      if (below === undefined) {
        if (visit !== undefined) throw nodeNotFound(child);
        return undefined;
      }
      totals.files += below.files;
      totals.directories += below.directories;
      totals.size += below.size;
    }
    known.set(full, totals);
    visit?.(full, node, totals);
    return totals;
  }

  #hardlinkedTwice(root: Root): number {
    let bytes = 0;
    for (const group of root.hardlinks) {
      const entry = this.#entryAt(root.full, group[0] ?? '');
      if (entry?.type === EntryType.file) bytes += entry.size * (group.length - 1);
    }
    return bytes;
  }

  #entryAt(full: Hex, path: string): Entry | undefined {
    let directory = full;
    let found: Entry | undefined;
    for (const name of path.split('/')) {
      found = findEntry(this.node(directory), name);
      if (found?.type === EntryType.directory) directory = found.full;
    }
    return found;
  }
}

function summarize(entries: readonly Entry[]): { files: number; size: number; children: readonly Hex[] } {
  let files = 0;
  let size = 0;
  let children: Hex[] | undefined;
  for (const entry of entries) {
    if (entry.type === EntryType.directory) {
      children ??= [];
      children.push(entry.full);
    } else {
      files++;
      if (entry.type === EntryType.file) size += entry.size;
    }
  }
  return { files, size, children: children ?? noChildren };
}
