import type { DatabaseSync } from 'node:sqlite';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId } from '../model.ts';
import { blobsOf, type ImageRecord, treesOf } from '../port.ts';
import { Activity, collectOperations } from './collect-operations.ts';
import { type Commit, type Totals, unpackNodes } from './commit.ts';
import { inTransaction } from './connection.ts';
import { imageOperations } from './image-operations.ts';
import { layerOperations } from './layer-operations.ts';

/**
 * Everything that the database thread does for the main thread, by name. Arguments and results are structured-cloneable. Each operation
 * is one transaction.
 */
export function createOperations(database: DatabaseSync) {
  const activity = new Activity();
  return {
    ...treeOperations(database, activity),
    ...imageOperations(database, activity),
    ...layerOperations(database, activity),
    ...leaseOperations(database, activity),
    ...useOperations(database),
    ...actionOperations(database, activity),
    ...collectOperations(database, activity),
  };
}

export type Operations = ReturnType<typeof createOperations>;

export const toBlob = (hex: Hex): Buffer => Buffer.from(hex, 'hex');
export const fromBlob = (blob: unknown): Hex => Buffer.from(blob as Uint8Array).toString('hex') as Hex;

function treeOperations(database: DatabaseSync, activity: Activity) {
  const insertNode = database.prepare('INSERT OR IGNORE INTO nodes (full, bytes, files, directories, size) VALUES (?, ?, ?, ?, ?)');
  const insertTree = database.prepare(
    'INSERT OR IGNORE INTO trees (id, content, bytes, files, directories, size, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  const leaseTree = database.prepare("INSERT OR IGNORE INTO lease_items (lease, kind, key) VALUES (?, 'tree', ?)");
  const selectNode = database.prepare('SELECT bytes FROM nodes WHERE full = ?');
  const selectTree = database.prepare('SELECT bytes, files, directories, size FROM trees WHERE id = ?');
  const selectByContent = database.prepare('SELECT id FROM trees WHERE content = ? ORDER BY created_at_ms LIMIT 1');
  return {
    /** Nodes first, then the roots that need them; the roots join the lease in the same transaction. */
    commitTrees(commit: Commit, roots: TreeId[], leaseId: string | undefined): void {
      inTransaction(database, () => {
        for (const { full, totals, bytes } of unpackNodes(commit.nodes)) {
          insertNode.run(full, bytes, totals.files, totals.directories, totals.size);
          activity.node(full);
        }
        for (const { id, content, bytes, totals } of commit.roots) {
          insertTree.run(toBlob(id), toBlob(content), bytes, totals.files, totals.directories, totals.size, Date.now());
        }
        for (const id of roots) activity.tree(id);
        if (leaseId !== undefined) for (const id of roots) leaseTree.run(leaseId, id);
      });
    },
    readNode(full: Hex): Uint8Array | undefined {
      return selectNode.get(toBlob(full))?.bytes as Uint8Array | undefined;
    },
    readTree(id: TreeId): { bytes: Uint8Array; totals: Totals } | undefined {
      const row = selectTree.get(toBlob(id));
      if (row === undefined) return undefined;
      return {
        bytes: row.bytes as Uint8Array,
        totals: { files: Number(row.files), directories: Number(row.directories), size: Number(row.size) },
      };
    },
    findTreeByContent(content: Hex): TreeId | undefined {
      const row = selectByContent.get(toBlob(content));
      if (row === undefined) return undefined;
      const id = fromBlob(row.id) as TreeId;
      activity.tree(id);
      return id;
    },
  };
}

function leaseOperations(database: DatabaseSync, activity: Activity) {
  const insert = database.prepare('INSERT INTO leases (id, purpose, expires_at_ms) VALUES (?, ?, ?)');
  const extend = database.prepare('UPDATE leases SET expires_at_ms = ? WHERE id = ?');
  const insertItem = database.prepare('INSERT OR IGNORE INTO lease_items (lease, kind, key) VALUES (?, ?, ?)');
  const selectTree = database.prepare('SELECT 1 FROM trees WHERE id = ?');
  const selectImage = database.prepare('SELECT record FROM images WHERE id = ?');
  const remove = database.prepare('DELETE FROM leases WHERE id = ?');
  const removeExpired = database.prepare('DELETE FROM leases WHERE expires_at_ms <= ?');

  function leaseParts(lease: string, image: ImageRecord): void {
    const { origin } = image;
    for (const id of treesOf(image)) {
      activity.tree(id);
      insertItem.run(lease, 'tree', id);
    }
    if (origin === undefined) return;
    for (const digest of blobsOf(origin)) insertItem.run(lease, 'blob', digest);
  }

  return {
    addLease(id: string, purpose: string, expiresAtMs: number): void {
      insert.run(id, purpose, expiresAtMs);
    },
    extendLease(id: string, expiresAtMs: number): void {
      extend.run(expiresAtMs, id);
    },
    /** False when there is no such tree any more. With an image, its trees and blobs join too: it may be removed while they are needed. */
    addLeaseItem(lease: string, kind: string, key: string): boolean {
      return inTransaction(database, () => {
        if (kind === 'tree') {
          activity.tree(key as TreeId);
          if (selectTree.get(toBlob(key as TreeId)) === undefined) return false;
        }
        insertItem.run(lease, kind, key);
        const record = kind === 'image' ? selectImage.get(key)?.record : undefined;
        if (record !== undefined) leaseParts(lease, JSON.parse(String(record)) as ImageRecord);
        return true;
      });
    },
    removeLease(id: string): void {
      remove.run(id);
    },
    removeExpiredLeases(nowMs: number): void {
      removeExpired.run(nowMs);
    },
  };
}

function useOperations(database: DatabaseSync) {
  const upsert = database.prepare(
    'INSERT INTO uses (kind, key, last_at_ms) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET last_at_ms = max(last_at_ms, excluded.last_at_ms)',
  );
  const select = database.prepare('SELECT last_at_ms FROM uses WHERE kind = ? AND key = ?');
  return {
    recordUses(uses: { kind: string; key: string; atMs: number }[]): void {
      inTransaction(database, () => {
        for (const { kind, key, atMs } of uses) upsert.run(kind, key, atMs);
      });
    },
    lastUse(kind: string, key: string): number | undefined {
      const row = select.get(kind, key);
      return row === undefined ? undefined : Number(row.last_at_ms);
    },
  };
}

function actionOperations(database: DatabaseSync, activity: Activity) {
  // An action whose tree was collected may be set anew; any other stays as it is.
  const forgetDangling = database.prepare('DELETE FROM actions WHERE key = ? AND tree NOT IN (SELECT id FROM trees)');
  const insert = database.prepare('INSERT OR IGNORE INTO actions (key, tree, detail, created_at_ms) VALUES (?, ?, ?, ?)');
  const select = database.prepare(
    'SELECT trees.id, trees.content, actions.detail FROM actions JOIN trees ON trees.id = actions.tree WHERE actions.key = ?',
  );
  return {
    putAction(key: Hex, tree: TreeId, detail: string | undefined): void {
      inTransaction(database, () => {
        activity.tree(tree);
        forgetDangling.run(toBlob(key));
        insert.run(toBlob(key), toBlob(tree), detail ?? null, Date.now());
      });
    },
    getAction(key: Hex): { id: TreeId; content: Hex; detail: string | undefined } | undefined {
      const row = select.get(toBlob(key));
      if (row === undefined) return undefined;
      activity.tree(fromBlob(row.id) as TreeId);
      return {
        id: fromBlob(row.id) as TreeId,
        content: fromBlob(row.content),
        detail: row.detail === null ? undefined : String(row.detail),
      };
    },
  };
}
