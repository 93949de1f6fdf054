import { open, readFile, rename, rm } from 'node:fs/promises';
import { isErrno } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { Read } from './executor.ts';

/** What a step was when it last ran: for reasons ("why did it run?") and for the times of files that came out the same. */
export type LastRun = { readonly operation: Hex; readonly reads: readonly Read[]; readonly tree: TreeId };

type MemoryFile = { version: 1; lastRuns: Record<string, LastRun>; salts: Record<string, string>; renewals?: Record<string, number> };

const lastRunLimit = 2_000;
const saltLimit = 20_000;
const renewalLimit = 20_000;

/**
 * The little that builds remember beside the action cache, in one JSON file (docs/formats/build-keys.md): the last run of each step, and salts
 * of keys whose result was replaced on demand. Losing it costs reasons, times, refreshes and runs of steps with a cache TTL, never a wrong result of another step.
 */
export class BuildMemory {
  readonly #path: string;
  readonly #lastRuns = new Map<string, LastRun>();
  readonly #salts = new Map<string, string>();
  readonly #renewals = new Map<string, number>();
  #loaded: Promise<void> | undefined;
  #saving: Promise<void> = Promise.resolve();
  #changed = false;

  constructor(path: string) {
    this.#path = path;
  }

  /** Reads the file once; call before anything else. */
  load(): Promise<void> {
    this.#loaded ??= this.#read();
    return this.#loaded;
  }

  lastRun(lineage: string): LastRun | undefined {
    return this.#lastRuns.get(lineage);
  }

  remember(lineage: string, run: LastRun): void {
    put(this.#lastRuns, lineage, run, lastRunLimit);
    this.#changed = true;
  }

  salt(key: Hex): string | undefined {
    return this.#salts.get(key);
  }

  setSalt(key: Hex, salt: string): void {
    put(this.#salts, key, salt, saltLimit);
    this.#changed = true;
  }

  /** When a step with this key last ran and gave the result that was there already. */
  renewedAt(key: Hex): number | undefined {
    return this.#renewals.get(key);
  }

  setRenewed(key: Hex, atMs: number): void {
    put(this.#renewals, key, atMs, renewalLimit);
    this.#changed = true;
  }

  /** Writes what changed: whole, synced and by rename. */
  save(): Promise<void> {
    this.#saving = this.#saving.catch(() => undefined).then(() => this.#write());
    return this.#saving;
  }

  async #read(): Promise<void> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      throw error;
    }
    const parsed = parseMemory(text);
    for (const [lineage, run] of Object.entries(parsed?.lastRuns ?? {})) this.#lastRuns.set(lineage, run);
    for (const [key, salt] of Object.entries(parsed?.salts ?? {})) this.#salts.set(key, salt);
    for (const [key, atMs] of Object.entries(parsed?.renewals ?? {})) this.#renewals.set(key, atMs);
  }

  async #write(): Promise<void> {
    if (!this.#changed) return;
    this.#changed = false;
    const content: MemoryFile = {
      version: 1,
      lastRuns: Object.fromEntries(this.#lastRuns),
      salts: Object.fromEntries(this.#salts),
      ...(this.#renewals.size === 0 ? {} : { renewals: Object.fromEntries(this.#renewals) }),
    };
    const temporary = `${this.#path}.new`;
    try {
      const file = await open(temporary, 'w', 0o600);
      try {
        await file.writeFile(JSON.stringify(content));
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path);
    } catch (error) {
      this.#changed = true;
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

/** A damaged or newer file is as good as none. */
function parseMemory(text: string): MemoryFile | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null && 'version' in parsed && parsed.version === 1) return parsed as MemoryFile;
  } catch {
    return undefined;
  }
  return undefined;
}

/** Newest last; the oldest goes when there are too many. */
function put<V>(map: Map<string, V>, key: string, value: V, limit: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > limit) for (const oldest of map.keys()) return void map.delete(oldest);
}
