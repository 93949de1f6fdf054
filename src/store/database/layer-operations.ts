import type { DatabaseSync } from 'node:sqlite';
import type { Digest } from '../../oci/digest.ts';
import type { KnownLayer } from '../port.ts';
import type { Activity } from './collect-operations.ts';
import { inTransaction } from './connection.ts';

/** Layers by their blob (records are JSON), and where blobs have been seen. */
export function layerOperations(database: DatabaseSync, activity: Activity) {
  const select = database.prepare('SELECT record FROM layers WHERE digest = ?');
  const selectByDiffId = database.prepare('SELECT record FROM layers WHERE diff_id = ? ORDER BY digest');
  const upsert = database.prepare(
    'INSERT INTO layers (digest, diff_id, record) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET record = excluded.record',
  );
  const selectSources = database.prepare(
    'SELECT repository FROM blob_sources WHERE digest = ? ORDER BY seen_at_ms DESC, repository LIMIT 16',
  );
  const upsertSource = database.prepare(
    'INSERT INTO blob_sources (digest, repository, seen_at_ms) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seen_at_ms = excluded.seen_at_ms',
  );
  const deleteSource = database.prepare('DELETE FROM blob_sources WHERE digest = ? AND repository = ?');
  const parse = (row: Record<string, unknown> | undefined): KnownLayer | undefined =>
    row === undefined ? undefined : (JSON.parse(String(row.record)) as KnownLayer);

  return {
    layerByDigest(digest: Digest): KnownLayer | undefined {
      return parse(select.get(digest));
    },
    layersByDiffId(diffId: Digest): KnownLayer[] {
      return selectByDiffId.all(diffId).flatMap((row) => parse(row) ?? []);
    },
    putLayer(layer: KnownLayer): void {
      inTransaction(database, () => {
        activity.tree(layer.tree);
        const existing = parse(select.get(layer.digest));
        const record = existing === undefined ? layer : { ...existing, table: existing.table ?? layer.table };
        upsert.run(layer.digest, layer.diffId, JSON.stringify(record));
      });
    },
    blobSources(digest: Digest): string[] {
      return selectSources.all(digest).map((row) => String(row.repository));
    },
    addBlobSources(repository: string, digests: readonly Digest[]): void {
      inTransaction(database, () => {
        for (const digest of digests) upsertSource.run(digest, repository, Date.now());
      });
    },
    removeBlobSource(repository: string, digest: Digest): void {
      deleteSource.run(digest, repository);
    },
  };
}
