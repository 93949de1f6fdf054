import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ByteString } from '../../base/bytes.ts';
import type { ListedEntry } from './folder-list.ts';

/** What a folder was when it was last sent to a daemon, and the tree that the daemon made of it. */
export type Remembered = { readonly tree: string | undefined; readonly entries: ReadonlyMap<ByteString, ListedEntry> };

const nothing: Remembered = { tree: undefined, entries: new Map() };

/**
 * A file for each folder and daemon, below `$XDG_CACHE_HOME/slipway/contexts`: a line with the tree, then one for each entry, `[stat, line]`. It is only a cache: what cannot be read is nothing, and what cannot be
 * written costs time.
 */
export class FolderCache {
  readonly #directory: string;
  readonly #file: string;

  /** `name` tells folders, daemons and selections apart. */
  constructor(name: readonly string[], env: NodeJS.ProcessEnv) {
    const base = env.XDG_CACHE_HOME?.startsWith('/') ? env.XDG_CACHE_HOME : join(env.HOME || homedir(), '.cache');
    this.#directory = join(base, 'slipway/contexts');
    this.#file = join(this.#directory, createHash('sha256').update(name.join('\0')).digest('hex'));
  }

  read(): Remembered {
    try {
      const [head = '', ...lines] = readFileSync(this.#file, 'utf8').trimEnd().split('\n');
      const { version, tree, entries: count } = JSON.parse(head) as { version: number; tree: string; entries: number };
      if (version !== 1 || count !== lines.length) return nothing;
      const entries = new Map<ByteString, ListedEntry>();
      for (const text of lines) {
        const [stat, line] = JSON.parse(text) as [string, unknown[]];
        entries.set(line[1] as ByteString, { stat, line });
      }
      return { tree, entries };
    } catch {
      return nothing;
    }
  }

  write({ tree, entries }: Remembered): void {
    const temporary = `${this.#file}.${process.pid}`;
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const lines = [JSON.stringify({ version: 1, tree, entries: entries.size })];
      for (const { stat, line } of entries.values()) lines.push(JSON.stringify([stat, line]));
      writeFileSync(temporary, `${lines.join('\n')}\n`, { mode: 0o600 });
      renameSync(temporary, this.#file);
    } catch {
      rmSync(temporary, { force: true });
    }
  }
}
