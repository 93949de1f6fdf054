import type { DatabaseSync } from 'node:sqlite';
import type { Digest } from '../../oci/digest.ts';
import { type ImageOrigin, type ImageRecord, treesOf } from '../port.ts';
import type { Activity } from './collect-operations.ts';
import { inTransaction } from './connection.ts';

export type ImageRow = { record: ImageRecord; references: string[]; lastUsedAtMs: number | undefined };

/** Image records (JSON), and the references that point at them. References are canonical. */
export function imageOperations(database: DatabaseSync, activity: Activity) {
  const upsert = database.prepare('INSERT INTO images (id, record) VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record');
  const select = database.prepare('SELECT record FROM images WHERE id = ?');
  const selectByPrefix = database.prepare('SELECT record FROM images WHERE id >= ? AND id < ? LIMIT 2');
  const selectByReference = database.prepare(
    'SELECT images.record FROM tags JOIN images ON images.id = tags.image WHERE tags.reference = ?',
  );
  const selectAll = database.prepare(`
    SELECT images.record, uses.last_at_ms AS last
    FROM images LEFT JOIN uses ON uses.kind = 'image' AND uses.key = images.id`);
  const selectReferences = database.prepare('SELECT reference FROM tags WHERE image = ? ORDER BY reference');
  const upsertTag = database.prepare('INSERT INTO tags (reference, image) VALUES (?, ?) ON CONFLICT DO UPDATE SET image = excluded.image');
  const removeTag = database.prepare('DELETE FROM tags WHERE reference = ?');
  const removeTags = database.prepare('DELETE FROM tags WHERE image = ?');
  const remove = database.prepare('DELETE FROM images WHERE id = ?');

  const parse = (row: Record<string, unknown> | undefined): ImageRecord | undefined =>
    row === undefined ? undefined : (JSON.parse(String(row.record)) as ImageRecord);
  const references = (id: string): string[] => selectReferences.all(id).map((row) => String(row.reference));

  return {
    /** Keeps the record that is there when the image exists, but an origin, with the history that goes with it, and steps are worth having. */
    addImage(record: ImageRecord): ImageRecord {
      return inTransaction(database, () => {
        for (const tree of treesOf(record)) activity.tree(tree);
        const existing = parse(select.get(record.id));
        const kept = existing === undefined ? record : joined(existing, record);
        if (kept !== existing) upsert.run(record.id, JSON.stringify(kept));
        return kept;
      });
    },
    /** False when there is no such image. */
    setImageOrigin(id: Digest, origin: ImageOrigin): boolean {
      return inTransaction(database, () => {
        const record = parse(select.get(id));
        if (record === undefined) return false;
        upsert.run(id, JSON.stringify({ ...record, origin }));
        return true;
      });
    },
    imageById(id: Digest): ImageRecord | undefined {
      return parse(select.get(id));
    },
    /** At most two: enough to tell that a prefix is ambiguous. */
    imagesByPrefix(hexPrefix: string): ImageRecord[] {
      const prefix = `sha256:${hexPrefix}`;
      return selectByPrefix.all(prefix, `${prefix}g`).flatMap((row) => parse(row) ?? []);
    },
    imageByReference(reference: string): ImageRecord | undefined {
      return parse(selectByReference.get(reference));
    },
    imageReferences(id: Digest): string[] {
      return references(id);
    },
    listImages(): ImageRow[] {
      return selectAll.all().flatMap((row) => {
        const record = parse(row);
        if (record === undefined) return [];
        return [{ record, references: references(record.id), lastUsedAtMs: row.last === null ? undefined : Number(row.last) }];
      });
    },
    /** False when there is no such image. */
    tagImage(reference: string, id: Digest): boolean {
      return inTransaction(database, () => {
        if (select.get(id) === undefined) return false;
        upsertTag.run(reference, id);
        return true;
      });
    },
    untagImage(reference: string): boolean {
      return Number(removeTag.run(reference).changes) > 0;
    },
    /** Gives the references that stand in the way, or undefined when there is no such image; an empty list when it is gone. */
    removeImage(id: Digest, force: boolean): string[] | undefined {
      return inTransaction(database, () => {
        if (select.get(id) === undefined) return undefined;
        const inTheWay = references(id);
        if (inTheWay.length > 0 && !force) return inTheWay;
        removeTags.run(id);
        remove.run(id);
        return [];
      });
    },
  };
}

function joined(existing: ImageRecord, record: ImageRecord): ImageRecord {
  const { history, origin, steps } = record;
  if (existing.origin === undefined && origin !== undefined) {
    const { steps: _other, ...rest } = existing;
    return { ...rest, history, origin, ...(steps === undefined ? {} : { steps }) };
  }
  // Steps go with a history: those of another one would be told of the wrong entries.
  const sameHistory = JSON.stringify(existing.history) === JSON.stringify(history);
  return existing.steps === undefined && steps !== undefined && sameHistory ? { ...existing, steps } : existing;
}
