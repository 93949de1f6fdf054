import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sqlite from 'node-sqlite3-wasm';

/** Opens (or makes) the database file in `directory`. */
export function openStore(directory) {
  mkdirSync(directory, { recursive: true });
  const database = new sqlite.Database(join(directory, 'guestbook.db'));
  database.run('create table if not exists entries (id integer primary key, name text not null, message text not null, at text not null)');
  return {
    list: () => database.all('select id, name, message, at from entries order by id'),
    add(name, message) {
      const at = new Date().toISOString();
      const { lastInsertRowid } = database.run('insert into entries (name, message, at) values (?, ?, ?)', [name, message, at]);
      return { id: lastInsertRowid, name, message, at };
    },
    close: () => database.close(),
  };
}
