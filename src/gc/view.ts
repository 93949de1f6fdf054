import type { DatabaseSync } from 'node:sqlite';
import type { Hex } from '../oci/digest.ts';
import type { BlobReferences } from '../store/collect/blob-references.ts';
import { Graph } from '../store/collect/graph.ts';
import { type ImageRecord, type KnownLayer, treesOf } from '../store/port.ts';
import type { Holding } from './ledger.ts';
import type { GcItemKind, Surroundings } from './port.ts';

/** Something that can go or is held, with what it holds. */
export type Item = Holding & {
  readonly kind: GcItemKind;
  readonly id: string;
  readonly name: string;
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number;
  readonly held?: string | undefined;
  readonly costMs?: number | undefined;
  /** What it holds in all, however much of it others hold too. */
  readonly sizeBytes: number;
  readonly remake: string;
  readonly references?: readonly string[] | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly keys?: readonly Hex[] | undefined;
};

/** All that a plan is made from, of one moment. */
export type View = {
  readonly graph: Graph;
  readonly items: readonly Item[];
  /** What is needed whatever goes. */
  readonly held: readonly Holding[];
  readonly blobs: { readonly digests: readonly string[]; readonly bytes: Float64Array };
};

export type ViewSources = {
  blobs: ReadonlyMap<string, number>;
  references: BlobReferences;
  surroundings: Surroundings;
  onNode: () => void;
};

/**
 * Reads the view inside one read transaction. `blobs` are the files of the blob store with their sizes; what the other rooms know comes in `surroundings`.
 */
export function readView(database: DatabaseSync, { blobs, references, surroundings, onNode }: ViewSources): View {
  const graph = Graph.read(database, onNode);
  const numbers = new Map([...blobs.keys()].map((digest, index) => [digest, index]));
  const reader = new Reader(database, graph, numbers, references);
  const images = reader.images(surroundings.images);
  return {
    graph,
    items: [...images, ...reader.results(), ...reader.layers(), ...reader.regettable(blobs), ...surroundings.items.map(outside)],
    held: [reader.leased(), reader.holding({ trees: surroundings.trees.map(({ tree }) => tree) })],
    blobs: { digests: [...blobs.keys()], bytes: Float64Array.from(blobs.values()) },
  };
}

function outside(item: Surroundings['items'][number]): Item {
  return {
    ...item,
    trees: [],
    blobs: [],
    ownBytes: item.bytes,
    sizeBytes: item.bytes,
    createdAtMs: item.lastUsedAtMs,
    remake: remakes[item.kind],
  };
}

const remakes: Record<GcItemKind, string> = {
  projection: 'it is made again at the next start of a container, in less than a second',
  blob: 'a registry has it',
  result: 'the step runs again',
  layer: 'it is downloaded or made again',
  image: 'build or load it again',
  container: 'nothing brings it back',
  volume: 'nothing brings it back',
};

class Reader {
  readonly #database: DatabaseSync;
  readonly #graph: Graph;
  readonly #blobs: ReadonlyMap<string, number>;
  readonly #references: BlobReferences;
  readonly #layerBlobs = new Set<string>();

  constructor(database: DatabaseSync, graph: Graph, blobs: ReadonlyMap<string, number>, references: BlobReferences) {
    this.#references = references;
    this.#database = database;
    this.#graph = graph;
    this.#blobs = blobs;
  }

  holding({ trees = [], blobs = [] }: { trees?: readonly string[]; blobs?: readonly string[] }): Holding {
    const numbersOf = (digests: readonly string[], number: (digest: string) => number) => digests.map(number).filter((found) => found >= 0);
    return {
      trees: numbersOf(trees, (tree) => this.#graph.trees.indexOf(Buffer.from(tree, 'hex'))),
      blobs: numbersOf(blobs, (blob) => this.#blobs.get(blob) ?? -1),
      ownBytes: 0,
    };
  }

  leased(): Holding {
    const trees: string[] = [];
    const blobs: string[] = [];
    for (const { kind, key } of this.#database.prepare('SELECT DISTINCT kind, key FROM lease_items').iterate()) {
      if (kind === 'tree') trees.push(String(key));
      if (kind === 'blob') blobs.push(String(key));
    }
    return this.holding({ trees, blobs });
  }

  images(inUse: Surroundings['images']): Item[] {
    const users = new Map(inUse.map(({ id, by }) => [id, by]));
    const references = new Map<string, string[]>();
    for (const { image, reference } of this.#database.prepare('SELECT image, reference FROM tags ORDER BY reference').iterate()) {
      references.set(String(image), [...(references.get(String(image)) ?? []), String(reference)]);
    }
    const uses = this.#uses('image');
    const items: Item[] = [];
    for (const { record } of this.#database.prepare('SELECT record FROM images').iterate()) {
      const image = JSON.parse(String(record)) as ImageRecord;
      const { id, origin, createdAtMs, sizeBytes } = image;
      const names = references.get(id) ?? [];
      for (const layer of origin?.layers ?? []) this.#layerBlobs.add(layer.digest);
      const user = users.get(id);
      items.push({
        ...this.holding({ trees: treesOf(image), blobs: origin === undefined ? [] : [...this.#references.ofImage(origin)] }),
        kind: 'image',
        id,
        name: names[0] ?? id.slice(7, 19),
        createdAtMs,
        sizeBytes,
        lastUsedAtMs: uses.get(id) ?? createdAtMs,
        held: user === undefined ? undefined : `${user} uses it`,
        remake: origin === undefined ? remakes.image : 'pull it again',
        references: names,
        labels: image.config?.config?.Labels ?? {},
      });
    }
    return items;
  }

  /** Results of builds, one for each tree: however many keys lead to it. */
  results(): Item[] {
    const uses = this.#uses('action');
    const byTree = new Map<string, { keys: Hex[]; createdAtMs: number; lastUsedAtMs: number; costMs: number; sizeBytes: number }>();
    const rows = this.#database
      .prepare(
        'SELECT hex(key) AS key, hex(tree) AS tree, detail, actions.created_at_ms AS created, trees.size FROM actions JOIN trees ON trees.id = actions.tree',
      )
      .iterate();
    for (const row of rows) {
      const key = String(row.key).toLowerCase() as Hex;
      const tree = String(row.tree).toLowerCase();
      const createdAtMs = Number(row.created);
      const known = byTree.get(tree) ?? { keys: [], createdAtMs, lastUsedAtMs: 0, costMs: 0, sizeBytes: Number(row.size) };
      known.keys.push(key);
      known.createdAtMs = Math.min(known.createdAtMs, createdAtMs);
      known.lastUsedAtMs = Math.max(known.lastUsedAtMs, uses.get(key) ?? createdAtMs);
      known.costMs = Math.max(known.costMs, costOf(row.detail));
      byTree.set(tree, known);
    }
    return [...byTree].map(([tree, { keys, createdAtMs, lastUsedAtMs, costMs, sizeBytes }]) => ({
      ...this.holding({ trees: [tree] }),
      kind: 'result',
      id: tree,
      name: `result of a build ${tree.slice(0, 12)}`,
      keys,
      createdAtMs,
      lastUsedAtMs,
      sizeBytes,
      costMs: costMs === 0 ? undefined : costMs,
      remake: remakes.result,
    }));
  }

  layers(): Item[] {
    const selectTree = this.#database.prepare('SELECT created_at_ms AS created, size FROM trees WHERE id = ?');
    const items: Item[] = [];
    for (const { record } of this.#database.prepare('SELECT record FROM layers').iterate()) {
      const layer = JSON.parse(String(record)) as KnownLayer;
      const tree = selectTree.get(Buffer.from(layer.tree, 'hex'));
      const createdAtMs = Number(tree?.created ?? 0);
      items.push({
        ...this.holding({ trees: [layer.tree], blobs: layer.table === undefined ? [] : [layer.table.digest] }),
        kind: 'layer',
        id: layer.digest,
        name: `layer ${layer.digest.slice(7, 19)}`,
        createdAtMs,
        lastUsedAtMs: createdAtMs,
        sizeBytes: Number(tree?.size ?? 0),
        held: this.#layerBlobs.has(layer.digest) ? 'an image has it' : undefined,
        remake: remakes.layer,
      });
    }
    return items;
  }

  /** Blobs of layers that a repository is known to have. */
  regettable(blobs: ReadonlyMap<string, number>): Item[] {
    const items: Item[] = [];
    const rows = this.#database.prepare('SELECT digest, max(seen_at_ms) AS seen, repository FROM blob_sources GROUP BY digest').iterate();
    for (const { digest, seen, repository } of rows) {
      const bytes = blobs.get(String(digest));
      if (bytes === undefined || !this.#layerBlobs.has(String(digest))) continue;
      items.push({
        trees: [],
        blobs: [this.#blobs.get(String(digest)) as number],
        ownBytes: 0,
        kind: 'blob',
        id: String(digest),
        name: `layer blob ${String(digest).slice(7, 19)}`,
        createdAtMs: Number(seen),
        lastUsedAtMs: Number(seen),
        sizeBytes: bytes,
        remake: `${String(repository)} has it`,
      });
    }
    return items;
  }

  #uses(kind: string): Map<string, number> {
    const rows = this.#database.prepare('SELECT key, last_at_ms AS last FROM uses WHERE kind = ?').all(kind);
    return new Map(rows.map(({ key, last }) => [String(key), Number(last)]));
  }
}

function costOf(detail: unknown): number {
  if (typeof detail !== 'string') return 0;
  const { costMs } = JSON.parse(detail) as { costMs?: unknown };
  return typeof costMs === 'number' ? costMs : 0;
}
