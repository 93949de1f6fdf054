import type { DatabaseSync } from 'node:sqlite';
import type { Digest, Hex } from '../../oci/digest.ts';
import { Witnesses } from '../jobs/witness.ts';
import type { TreeId } from '../model.ts';
import { blobsOf, type ImageRecord } from '../port.ts';
import { forEachReference } from '../tree/references.ts';
import { inTransaction } from './connection.ts';

/**
 * What was used since a collection began, as the database thread sees it: what the collector chose before is left alone when it is among this. Between
 * collections nothing is remembered.
 */
export class Activity {
  #trees: Set<string> | undefined;
  #nodes: Set<string> | undefined;

  begin(): void {
    this.#trees = new Set();
    this.#nodes = new Set();
  }

  end(): void {
    this.#trees = undefined;
    this.#nodes = undefined;
  }

  /** Somebody refers to the tree, or was told of it. */
  tree(id: TreeId): void {
    this.#trees?.add(id);
  }

  /** By its digest's bytes: it was committed, again or for the first time. */
  node(full: Buffer): void {
    this.#nodes?.add(nodeKey(full));
  }

  hasTree(id: string): boolean {
    return this.#trees?.has(id) ?? true;
  }

  hasNode(full: Buffer): boolean {
    return this.#nodes?.has(nodeKey(full)) ?? true;
  }
}

type NodeRow = { full: Buffer; bytes: Uint8Array; files: number; directories: number; size: number };

/** What the collector removes. Digests come packed, 32 bytes each; what is in use is left out, and the answer says how many went. */
export function collectOperations(database: DatabaseSync, activity: Activity) {
  const selectTree = database.prepare('SELECT * FROM trees WHERE id = ?');
  const deleteTree = database.prepare('DELETE FROM trees WHERE id = ?');
  const insertTree = database.prepare(
    'INSERT OR IGNORE INTO trees (id, content, bytes, files, directories, size, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  const leased = database.prepare("SELECT 1 FROM lease_items WHERE kind = 'tree' AND key = ?");
  const selectNode = database.prepare('SELECT full, bytes, files, directories, size FROM nodes WHERE full = ?');
  const deleteNode = database.prepare('DELETE FROM nodes WHERE full = ?');
  const insertNode = database.prepare('INSERT OR IGNORE INTO nodes (full, bytes, files, directories, size) VALUES (?, ?, ?, ?, ?)');
  const lastUse = database.prepare("SELECT last_at_ms FROM uses WHERE kind = 'action' AND key = ?");
  const forgetUse = database.prepare('DELETE FROM uses WHERE kind = ? AND key = ?');
  const deleteAction = database.prepare('DELETE FROM actions WHERE key = ?');
  const deleteLayer = database.prepare('DELETE FROM layers WHERE digest = ?');
  const leasedBlobs = database.prepare("SELECT DISTINCT key FROM lease_items WHERE kind = 'blob'");
  const imageRecords = database.prepare('SELECT record FROM images');
  const layerTables = database.prepare(
    "SELECT json_extract(record, '$.table.digest') AS \"table\" FROM layers WHERE json_extract(record, '$.table') NOT NULL",
  );
  const witnesses = { current: new Witnesses() };

  /** The node and all below it stay. */
  const keepNodes = (full: Buffer): void => {
    const stack = [full];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (activity.hasNode(next)) continue;
      const row = selectNode.get(next);
      if (row === undefined) continue;
      activity.node(next);
      for (const child of childrenOf(row.bytes as Uint8Array)) stack.push(child);
    }
  };

  return {
    beginCollection(): void {
      activity.begin();
      witnesses.current = new Witnesses();
    },
    endCollection(): void {
      activity.end();
      witnesses.current = new Witnesses();
    },
    /** Results of builds, by key, but those that were used after `sinceMs`. Gives how many went. */
    removeActions(keys: readonly Hex[], sinceMs: number): number {
      return inTransaction(database, () => {
        let removed = 0;
        for (const key of keys) {
          if (Number(lastUse.get(key)?.last_at_ms ?? 0) > sinceMs) continue;
          removed += Number(deleteAction.run(Buffer.from(key, 'hex')).changes);
          forgetUse.run('action', key);
        }
        return removed;
      });
    },
    removeLayer(digest: Digest): void {
      deleteLayer.run(digest);
    },
    /** Which of these blobs a lease names, and which an image or a layer. */
    blobsInUse(blobs: readonly Digest[]): { leased: Digest[]; named: Digest[] } {
      const leased = new Set<string>(leasedBlobs.all().map(({ key }) => String(key)));
      const named = new Set<string>(layerTables.all().map(({ table }) => String(table)));
      for (const { record } of imageRecords.all()) {
        const { origin } = JSON.parse(String(record)) as ImageRecord;
        if (origin !== undefined) for (const blob of blobsOf(origin)) named.add(blob);
      }
      return { leased: blobs.filter((blob) => leased.has(blob)), named: blobs.filter((blob) => named.has(blob)) };
    },
    /** Rows of trees that nothing refers to. */
    removeTrees(ids: Uint8Array, notes: readonly SharedArrayBuffer[]): number {
      const { current } = witnesses;
      current.refresh(notes);
      const removed: Record<string, unknown>[] = [];
      inTransaction(database, () => {
        for (const id of digests(ids)) {
          const hex = id.toString('hex');
          if (activity.hasTree(hex) || current.has(id) || leased.get(hex) !== undefined) continue;
          const row = selectTree.get(id);
          if (row === undefined) continue;
          deleteTree.run(id);
          removed.push(row);
        }
      });
      if (!current.refresh(notes)) return removed.length;
      // A job looked while they went: those it asked for are there again before it can commit.
      const wanted = removed.filter((row) => current.has(Buffer.from(row.id as Uint8Array)));
      if (wanted.length > 0) {
        inTransaction(database, () => {
          for (const row of wanted) insertTree.run(...(Object.values(row) as [Buffer]));
        });
      }
      return removed.length - wanted.length;
    },
    /** Parents before children: while a node is there, all below it is. Gives how many went. */
    removeNodes(ids: Uint8Array, notes: readonly SharedArrayBuffer[]): number {
      const { current } = witnesses;
      current.refresh(notes);
      const removed = new Map<string, NodeRow>();
      inTransaction(database, () => {
        for (const full of digests(ids)) {
          if (activity.hasNode(full)) continue;
          if (current.has(full)) {
            keepNodes(full);
            continue;
          }
          const row = selectNode.get(full) as NodeRow | undefined;
          if (row === undefined) continue;
          deleteNode.run(full);
          removed.set(nodeKey(full), row);
        }
      });
      if (!current.refresh(notes)) return removed.size;
      return removed.size - restoreNodes(removed, current);
    },
  };

  function restoreNodes(removed: ReadonlyMap<string, NodeRow>, current: Witnesses): number {
    let restored = 0;
    inTransaction(database, () => {
      const stack = [...removed.values()].filter((row) => current.has(Buffer.from(row.full)));
      for (let row = stack.pop(); row !== undefined; row = stack.pop()) {
        const full = Buffer.from(row.full);
        if (activity.hasNode(full)) continue;
        insertNode.run(full, row.bytes, row.files, row.directories, row.size);
        activity.node(full);
        restored++;
        for (const child of childrenOf(row.bytes)) {
          const alsoRemoved = removed.get(nodeKey(child));
          if (alsoRemoved === undefined) keepNodes(child);
          else stack.push(alsoRemoved);
        }
      }
    });
    return restored;
  }
}

function* digests(packed: Uint8Array): Generator<Buffer> {
  const buffer = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  for (let offset = 0; offset + 32 <= buffer.length; offset += 32) yield buffer.subarray(offset, offset + 32);
}

function childrenOf(bytes: Uint8Array): Buffer[] {
  const children: Buffer[] = [];
  forEachReference(
    bytes,
    () => {},
    (buffer, offset) => children.push(buffer.subarray(offset, offset + 32)),
  );
  return children;
}

function nodeKey(full: Buffer): string {
  return full.toString('latin1');
}
