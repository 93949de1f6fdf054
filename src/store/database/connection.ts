import { DatabaseSync } from 'node:sqlite';
import { EngineError } from '../../base/errors.ts';
import { migrate } from './schema.ts';

/** Opens the one writing connection and brings the schema up to date. Every commit is durable when it returns. */
export function openWriter(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 10_000 });
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8000;');
  migrate(database, path);
  return database;
}

/** Opens a connection for a job thread, which only ever reads. */
export function openReader(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 10_000 });
  database.exec('PRAGMA cache_size = -8000; PRAGMA mmap_size = 268435456;');
  return database;
}

export function inTransaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // A full disk may have ended the transaction already.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

/** Primary result codes of sqlite.org/rescode.html that callers can do something about. */
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** Gives an error of SQLite its kind; passes others through. */
export function fromSqliteError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return error;
  switch (error.errcode & 0xff) {
    case SQLITE_FULL:
      return new EngineError('NoSpace', 'ENOSPC', `no space left for the metadata in ${path}`, {
        cause: error,
        hint: "Free space on the file system that holds the engine's root, or give another one with --root.",
      });
    case SQLITE_IOERR:
      return new EngineError('Unavailable', 'METADATA_IO', `reading or writing ${path} failed: ${error.message}`, {
        cause: error,
        hint: 'The kernel log (dmesg) says more. A full disk can be the cause too.',
      });
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return new EngineError('DataLoss', 'METADATA_DAMAGED', `${path} is damaged: ${error.message}`, {
        cause: error,
        hint: 'Restore it from a copy, or start afresh with an empty --root.',
      });
    default:
      return new EngineError('Internal', 'METADATA', `${path}: ${error.message}`, { cause: error });
  }
}
