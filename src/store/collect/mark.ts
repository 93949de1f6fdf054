import type { DatabaseSync } from 'node:sqlite';
import type { Digest } from '../../oci/digest.ts';
import { openReader } from '../database/connection.ts';
import type { JobContext } from '../jobs/context.ts';
import { Witnesses } from '../jobs/witness.ts';
import type { TreeId } from '../model.ts';
import { type ImageRecord, treesOf } from '../port.ts';
import { BlobReferences } from './blob-references.ts';
import { Graph } from './graph.ts';

/** Trees that no image, layer, result of a build or lease refers to, and that are not among `kept`; packed, 32 bytes each. */
export function unusedTrees(context: JobContext, { kept }: { kept: readonly TreeId[] }): Uint8Array {
  return reading(context, (database) => {
    const used = new Set<string>(kept);
    for (const id of treesReferredTo(database)) used.add(id);
    const unused: Buffer[] = [];
    for (const { id } of database.prepare('SELECT id FROM trees').iterate()) {
      const bytes = Buffer.from(id as Uint8Array);
      if (!used.has(bytes.toString('hex'))) unused.push(bytes);
    }
    return new Uint8Array(Buffer.concat(unused));
  });
}

/** Every tree that a record names. */
function* treesReferredTo(database: DatabaseSync): Generator<string> {
  for (const { record } of database.prepare('SELECT record FROM images').iterate()) {
    yield* treesOf(JSON.parse(String(record)) as ImageRecord);
  }
  for (const { tree } of database.prepare("SELECT json_extract(record, '$.tree') AS tree FROM layers").iterate()) yield String(tree);
  for (const { tree } of database.prepare('SELECT DISTINCT hex(tree) AS tree FROM actions').iterate()) yield String(tree).toLowerCase();
  for (const { key } of database.prepare("SELECT DISTINCT key FROM lease_items WHERE kind = 'tree'").iterate()) yield String(key);
}

/** Blobs that images and layers name, with all that their manifests and indexes name. */
export function namedBlobs(context: JobContext): Digest[] {
  return reading(context, (database) => {
    const references = new BlobReferences(context.paths.blobs);
    const named = new Set<Digest>();
    for (const { record } of database.prepare('SELECT record FROM images').iterate()) {
      const { origin } = JSON.parse(String(record)) as ImageRecord;
      if (origin !== undefined) for (const digest of references.ofImage(origin)) named.add(digest);
    }
    const tables = database.prepare(
      "SELECT json_extract(record, '$.table.digest') AS digest FROM layers WHERE json_extract(record, '$.table') NOT NULL",
    );
    for (const { digest } of tables.iterate()) named.add(String(digest) as Digest);
    return [...named];
  });
}

/** Nodes that no tree reaches and no running job relies on: packed, parents before children. */
export function unusedNodes(context: JobContext, { notes }: { notes: readonly SharedArrayBuffer[] }): Uint8Array {
  return reading(context, (database) => {
    const graph = Graph.read(database, () => context.checkpoint());
    const witnesses = new Witnesses();
    witnesses.refresh(notes);
    const live = new Uint8Array(graph.nodes.count);
    const stack: number[] = [];
    const mark = (node: number) => {
      if (live[node] === 1) return;
      live[node] = 1;
      stack.push(node);
    };
    for (let tree = 0; tree < graph.trees.count; tree++) mark(graph.treeNodes.at(tree));
    for (let node = 0; node < graph.nodes.count; node++) if (witnesses.has(graph.nodes.bytes(node))) mark(node);
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) graph.children(node, mark);
    return graph.nodes.pack(parentsFirst(graph, live));
  });
}

/** The nodes that are there and not live, each after all that refer to it. */
function parentsFirst(graph: Graph, live: Uint8Array): number[] {
  const parents = new Int32Array(graph.nodes.count);
  const dead = (node: number) => live[node] === 0 && graph.hasNode(node);
  for (let node = 0; node < graph.nodes.count; node++) {
    if (!dead(node)) continue;
    graph.children(node, (child) => {
      parents[child] = (parents[child] as number) + 1;
    });
  }
  const order: number[] = [];
  for (let node = 0; node < graph.nodes.count; node++) if (dead(node) && parents[node] === 0) order.push(node);
  for (let i = 0; i < order.length; i++) {
    graph.children(order[i] as number, (child) => {
      parents[child] = (parents[child] as number) - 1;
      if (parents[child] === 0 && dead(child)) order.push(child);
    });
  }
  return order;
}

export function reading<T>(context: JobContext, read: (database: DatabaseSync) => T): T {
  const database = openReader(context.paths.database);
  try {
    database.exec('BEGIN');
    return read(database);
  } finally {
    database.close();
  }
}
