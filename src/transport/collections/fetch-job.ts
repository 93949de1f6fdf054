import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Digest, hexOf } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { Assembler, type ObjectPlan, planObject, sketchObject } from '../chunked/assemble.ts';
import { DeltaSources } from '../chunked/delta-sources.ts';
import { invalidForm } from '../chunked/errors.ts';
import { decodeHead, type Head } from '../chunked/head.ts';
import { findLocalChunks, locateChunks } from '../chunked/locate.ts';
import { Presence, presentTree, readTree } from '../chunked/receive-tree.ts';
import { type Channel, Remote, type RemoteBlob } from '../chunked/remote.ts';
import { StreamCache } from '../chunked/stream/cache.ts';
import { keptStream, StreamReceiver } from '../chunked/stream/receive.ts';
import type { ChunkId } from '../frames/model.ts';

export type CollectionFetchParams = {
  /** For messages. */
  readonly what: string;
  /** Among the store's blobs. */
  readonly head: Digest;
  readonly blobs: readonly RemoteBlob[];
  readonly tree: TreeId;
  readonly packs: readonly number[];
  /** Trees that are likely to resemble it; used where their streams were kept. */
  readonly near: readonly TreeId[];
  readonly channel: Channel;
};

export type CollectionFetchProgress = { readonly kind: 'planned'; readonly bytes: number };

/** Job `transport.collection-fetch`. */
export function fetchCollected(context: TreeContext, params: CollectionFetchParams): TreeRef {
  const remote = new Remote(context, params.channel);
  try {
    const tree = fetchTree(context, params, remote);
    remote.forget();
    return tree;
  } finally {
    remote.close();
  }
}

function fetchTree(context: TreeContext, params: CollectionFetchParams, remote: Remote): TreeRef {
  const { what, blobs } = params;
  const head = decodeHead(readFileSync(join(context.paths.blobs, 'sha256', hexOf(params.head))), blobs, `the head of ${what}`);
  const tree = head.layers.find((listed) => listed.tree.id === params.tree)?.tree;
  if (tree === undefined) throw invalidForm(`the head of ${what}`, `it does not list tree ${params.tree}`);
  const here = presentTree(context, tree);
  // Put again, so that the lease gets it.
  if (here !== undefined) return context.putRoot(context.root(here.id));
  const local = () => params.near.flatMap((id) => keptStream(context, id) ?? []);
  const receiver = new StreamReceiver({ head, blobs, what, deltas: false }, remote, local);
  receiver.request([tree]);
  const stream = receiver.receive(tree);
  const presence = new Presence(context);
  const read = readTree(context, tree, stream, presence, `the tree stream of ${params.tree} in ${what}`);
  const localChunks = findLocalChunks(read.missing, receiver.local);
  const wanted = new Set<ChunkId>();
  for (const { chunks } of read.missing) for (const { id } of chunks) if (!localChunks.has(id)) wanted.add(id);
  const { places, lacking } = locateChunks(wanted, withPacks(head, params.packs, what), blobs, remote);
  if (lacking.size > 0) throw invalidForm(what, `content of tree ${params.tree} is in none of its packs`);
  const deltas = new DeltaSources(blobs, what);
  const plans = read.missing.flatMap((object) => planObject(sketchObject(object, localChunks, deltas), places, what) ?? []);
  context.report({ kind: 'planned', bytes: bytesOf(plans) } satisfies CollectionFetchProgress);
  new Assembler(context, remote, () => undefined).run(plans);
  const made = context.putRoot(read.root);
  presence.settle();
  new StreamCache(context.paths).save({ tree: tree.id, bytes: stream.bytes, chunks: stream.chunks, directories: read.directories });
  return made;
}

function withPacks(head: Head, packs: readonly number[], what: string): Head {
  const chosen = packs.map((index) => {
    const pack = head.packs[index];
    if (pack === undefined) throw invalidForm(what, `it has no pack ${index}`);
    return pack;
  });
  return { ...head, packs: chosen };
}

/** Of the frames that have to come. */
function bytesOf(plans: readonly ObjectPlan[]): number {
  const frames = new Set<object>();
  let bytes = 0;
  for (const { pieces } of plans) {
    for (const piece of pieces) {
      const frame = piece.kind === 'pack' ? piece.place.pack.frames[piece.place.frame] : undefined;
      if (frame === undefined || frames.has(frame)) continue;
      frames.add(frame);
      bytes += frame.compressed;
    }
  }
  return bytes;
}
