import type { DatabaseSync } from 'node:sqlite';
import { EngineError } from '../../base/errors.ts';

/**
 * Metadata: docs/formats/store.md. A step, once released, never changes; a new one is added at the end. Digests of nodes and trees are
 * 32-byte blobs (half of their hex), those that people see are text.
 */
const migrations: readonly string[] = [
  `
  CREATE TABLE nodes (
    full BLOB PRIMARY KEY,
    bytes BLOB NOT NULL,
    files INTEGER NOT NULL,        -- below this directory, at any depth
    directories INTEGER NOT NULL,
    size INTEGER NOT NULL          -- sum of file sizes in bytes, every name counted
  ) STRICT;
  CREATE TABLE trees (
    id BLOB PRIMARY KEY,
    content BLOB NOT NULL,
    bytes BLOB NOT NULL,
    files INTEGER NOT NULL,
    directories INTEGER NOT NULL,
    size INTEGER NOT NULL,         -- sum of file sizes in bytes, a hardlink group counted once
    created_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX trees_content ON trees (content);
  CREATE TABLE images (
    id TEXT PRIMARY KEY,
    record TEXT NOT NULL
  ) STRICT;
  CREATE TABLE tags (
    reference TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (id)
  ) STRICT;
  CREATE INDEX tags_image ON tags (image);
  CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE lease_items (
    lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (lease, kind, key)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE uses (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    last_at_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE actions (
    key BLOB PRIMARY KEY,
    tree BLOB NOT NULL,
    detail TEXT,
    created_at_ms INTEGER NOT NULL
  ) STRICT;
  `,
  `
  CREATE TABLE layers (
    digest TEXT PRIMARY KEY,       -- of the blob
    diff_id TEXT NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX layers_diff_id ON layers (diff_id);
  CREATE TABLE blob_sources (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen_at_ms INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
  ) STRICT, WITHOUT ROWID;
  `,
];

export const schemaVersion = migrations.length;

/** Brings a database to this engine's schema, each step in a transaction of its own. Unsupported `STORE_NEWER` when it is ahead of us. */
export function migrate(database: DatabaseSync, path: string): void {
  const row = database.prepare('PRAGMA user_version').get();
  const current = Number(row?.user_version ?? 0);
  if (current > schemaVersion) throw storeIsNewer(path, current, schemaVersion);
  database.exec('CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_at_ms INTEGER NOT NULL) STRICT');
  for (let version = current; version < schemaVersion; version++) {
    database.exec('BEGIN IMMEDIATE');
    try {
      database.exec(migrations[version] ?? '');
      database.prepare('INSERT INTO migrations VALUES (?, ?)').run(version + 1, Date.now());
      database.exec(`PRAGMA user_version = ${version + 1}`);
      database.exec('COMMIT');
    } catch (error) {
      database.exec('ROLLBACK');
      throw error;
    }
  }
}

export function storeIsNewer(path: string, found: number, known: number): EngineError {
  return new EngineError(
    'Unsupported',
    'STORE_NEWER',
    `${path} was written by a newer Slipway: its version is ${found}, this engine knows ${known}`,
    {
      hint: 'Start the newer engine again, or give this one another root with --root.',
    },
  );
}
