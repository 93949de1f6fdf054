import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Digest, hexOf } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import type { ChunkId } from '../frames/model.ts';
import { Assembler, type ObjectPlan, planObject, sketchObject } from './assemble.ts';
import { DeltaSources } from './delta-sources.ts';
import { invalidForm } from './errors.ts';
import { decodeHead, type Head } from './head.ts';
import { findLocalChunks, locateChunks } from './locate.ts';
import { importLayerTree, Presence, presentTree, readTree, type TreeOnTheWay } from './receive-tree.ts';
import { type Channel, Remote, type RemoteBlob } from './remote.ts';
import { StreamCache } from './stream/cache.ts';
import { localStreams, StreamReceiver } from './stream/receive.ts';

export type ChunkedPullParams = {
  /** Names the image in errors. */
  readonly what: string;
  /** Among the store's blobs. */
  readonly head: Digest;
  /** The manifest's layers. */
  readonly blobs: readonly RemoteBlob[];
  readonly near: readonly TreeId[];
  /** remote.ts */
  readonly channel: Channel;
  /** Without content, for comparing entries: `layers`, the trees of the layers; `tree`, the image's. */
  readonly want: 'image' | 'layers' | 'tree';
  /** Without: everything out of packs. */
  readonly deltas: boolean;
};

/** Of the head's layer in this place: its tree here. */
export type ImportedLayer = TreeRef & { readonly whole: boolean };
export type ChunkedPullResult =
  | { readonly kind: 'done'; readonly tree: TreeRef | undefined; readonly layers: readonly ImportedLayer[]; readonly objects: number }
  /** Content that is in no table: it is in these layers, places in the manifest, which have none. */
  | { readonly kind: 'lacking'; readonly layers: readonly number[] };

export type ChunkedPullProgress = { readonly kind: 'assembled'; readonly bytes: number; readonly total: number };

const reportBytes = 4 << 20;

/** Job `transport.chunked-pull`. */
export function pullChunked(context: TreeContext, params: ChunkedPullParams): ChunkedPullResult {
  const remote = new Remote(context, params.channel);
  try {
    const result = new ChunkedPull(context, params, remote).run();
    if (result.kind === 'done') remote.forget();
    return result;
  } finally {
    remote.close();
  }
}

class ChunkedPull {
  readonly #context: TreeContext;
  readonly #params: ChunkedPullParams;
  readonly #remote: Remote;
  readonly #presence: Presence;
  readonly #head: Head;

  constructor(context: TreeContext, params: ChunkedPullParams, remote: Remote) {
    this.#context = context;
    this.#params = params;
    this.#remote = remote;
    this.#presence = new Presence(context);
    this.#head = decodeHead(
      readFileSync(join(context.paths.blobs, 'sha256', hexOf(params.head))),
      params.blobs,
      `the head ${params.head} of ${params.what}`,
    );
  }

  run(): ChunkedPullResult {
    const { want, blobs, what, near, deltas } = this.#params;
    const head = this.#head;
    const bases = deltas && want === 'image' ? head.deltas.map(({ base }) => base) : [];
    const local = () => localStreams(this.#context, [head.tree.id, ...near], bases);
    const receiver = new StreamReceiver({ head, blobs, what, deltas: deltas && want === 'image' }, this.#remote, local);
    if (want === 'layers') return { kind: 'done', tree: undefined, layers: this.#layers(receiver), objects: 0 };
    const { tree } = head;
    const here = presentTree(this.#context, tree);
    if (here === undefined && want === 'tree') return this.#forComparing(receiver);
    if (here !== undefined) return { kind: 'done', tree: this.#context.putRoot(this.#context.root(here.id)), layers: [], objects: 0 };
    receiver.request([tree]);
    const stream = receiver.receive(tree);
    const read = readTree(this.#context, tree, stream, this.#presence, `the tree stream of ${what}`);
    const plans = this.#plan(read, stream.bytes, receiver);
    if (plans === undefined) return this.#lacking();
    this.#assemble(plans);
    const made = this.#context.putRoot(read.root);
    const own = { tree: tree.id, bytes: stream.bytes, chunks: stream.chunks, directories: read.directories };
    this.#presence.settle();
    new StreamCache(this.#context.paths).save(own);
    return { kind: 'done', tree: made, layers: [], objects: plans.length };
  }

  /** Undefined when chunks are in no table. */
  #plan({ missing }: TreeOnTheWay, own: Uint8Array, receiver: StreamReceiver): ObjectPlan[] | undefined {
    const { what, blobs } = this.#params;
    const local = findLocalChunks(missing, receiver.local);
    const deltas = new DeltaSources(blobs, what);
    const byObject = new Map(missing.map((one) => [one.object, one]));
    for (const [delta, base] of receiver.bases) deltas.add(delta, base, own, byObject, (id) => local.has(id));
    const sketches = missing.map((one) => sketchObject(one, local, deltas));
    const wanted = new Set<ChunkId>();
    for (const { pieces } of sketches) for (const piece of pieces) if (piece.kind === 'chunk') wanted.add(piece.chunk.id);
    const { places } = locateChunks(wanted, this.#head, blobs, this.#remote);
    const plans: ObjectPlan[] = [];
    for (const sketch of sketches) {
      const plan = planObject(sketch, places, what);
      if (plan === undefined) return undefined;
      plans.push(plan);
    }
    return plans;
  }

  #lacking(): ChunkedPullResult {
    const layers = this.#head.packs.filter(({ table }) => table === undefined).map(({ blob }) => blob);
    if (layers.length === 0) throw invalidForm(this.#params.what, 'content of it is in none of its packs');
    return { kind: 'lacking', layers };
  }

  #assemble(plans: readonly ObjectPlan[]): void {
    const total = plans.reduce((sum, { missing }) => sum + missing.size, 0);
    let bytes = 0;
    let reported = 0;
    new Assembler(this.#context, this.#remote, (count) => {
      bytes += count;
      if (bytes - reported < reportBytes && bytes < total) return;
      reported = bytes;
      this.#context.report({ kind: 'assembled', bytes, total } satisfies ChunkedPullProgress);
    }).run(plans);
  }

  #forComparing(receiver: StreamReceiver): ChunkedPullResult {
    const { tree } = this.#head;
    receiver.request([tree]);
    const what = `the tree stream of ${this.#params.what}`;
    const { id, content } = importLayerTree(this.#context, tree, receiver.receive(tree), this.#presence, what);
    this.#presence.settle();
    return { kind: 'done', tree: { id, content }, layers: [], objects: 0 };
  }

  /** Those that are here already as they are, the others out of their streams. */
  #layers(receiver: StreamReceiver): ImportedLayer[] {
    const { layers } = this.#head;
    const here = layers.map(({ tree }) => presentTree(this.#context, tree));
    receiver.request(layers.filter((_, index) => here[index] === undefined).map(({ tree }) => tree));
    const imported = layers.map(({ tree, blob }, index) => {
      const known = here[index];
      if (known !== undefined) {
        // Put again, so that the lease gets it.
        return { ...this.#context.putRoot(this.#context.root(known.id)), whole: true };
      }
      const what = `the tree stream of layer ${this.#params.blobs[blob]?.digest}`;
      return importLayerTree(this.#context, tree, receiver.receive(tree), this.#presence, what);
    });
    this.#presence.settle();
    return imported;
  }
}
