import { rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';
import { closedNumbers, closedPath, currentPath, temporaryName } from './files.ts';
import type { LiveSpool } from './port.ts';

export type SpoolRotatorOptions = {
  /** The spools that are being written now. */
  live(): readonly LiveSpool[];
  /** How often it looks for new spools, and the longest time between two looks at one of them, in ms. */
  intervalMs?: number;
  maxIntervalMs?: number;
  onError?: (id: string, error: unknown) => void;
};

type Watched = { dueAtMs: number; currentBytes: number; checkedAtMs: number };

/** What a look at a spool found: the current file's size, and that of the one that was closed by it. */
export type Checked = { currentBytes: number; closedBytes: number };

/** A writer at full speed fills a few MB in it; a rotation alone takes half as long. */
const shortestMs = 50;

/**
 * Closes spools that have grown past their size and removes the oldest, without losing a line. How often a spool is looked at follows its
 * growth: one that writes nothing costs one `stat` in ten seconds, one that is written as fast as can be is looked at twenty times a second.
 */
export class SpoolRotator {
  readonly #options: Required<Omit<SpoolRotatorOptions, 'onError'>> & Pick<SpoolRotatorOptions, 'onError'>;
  readonly #watched = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: SpoolRotatorOptions) {
    this.#options = { intervalMs: 500, maxIntervalMs: 10_000, ...options };
  }

  start(): void {
    this.#timer ??= setTimeout(() => this.#tick(), this.#options.intervalMs).unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #tick(): void {
    this.#running = this.#checkDue().finally(() => {
      if (!this.#closed) this.#timer = setTimeout(() => this.#tick(), this.#untilNextMs()).unref();
    });
  }

  #untilNextMs(): number {
    const now = Date.now();
    const nextMs = Math.min(this.#options.intervalMs, ...[...this.#watched.values()].map(({ dueAtMs }) => dueAtMs - now));
    return Math.max(shortestMs, nextMs);
  }

  async #checkDue(): Promise<void> {
    const now = Date.now();
    const live = this.#options.live();
    const ids = new Set(live.map(({ id }) => id));
    for (const id of this.#watched.keys()) if (!ids.has(id)) this.#watched.delete(id);
    for (const spool of live) {
      if ((this.#watched.get(spool.id)?.dueAtMs ?? 0) > now) continue;
      try {
        this.#plan(spool, await this.check(spool));
      } catch (error) {
        this.#options.onError?.(spool.id, error);
      }
    }
  }

  /** The next look is due when half of what is left would be filled at the pace seen since the last. */
  #plan(spool: LiveSpool, { currentBytes, closedBytes }: Checked): void {
    const now = Date.now();
    const last = this.#watched.get(spool.id);
    const { intervalMs, maxIntervalMs } = this.#options;
    const writtenBytes = last ? currentBytes + closedBytes - last.currentBytes : 0;
    const perMs = last && now > last.checkedAtMs ? Math.max(0, writtenBytes) / (now - last.checkedAtMs) : 0;
    const untilFullMs = perMs > 0 ? (spool.maxBytes - currentBytes) / perMs / 2 : last ? maxIntervalMs : intervalMs;
    this.#watched.set(spool.id, {
      dueAtMs: now + Math.min(maxIntervalMs, Math.max(shortestMs, untilFullMs)),
      currentBytes,
      checkedAtMs: now,
    });
  }

  /** Looks at one spool now, and rotates it when it is due. */
  async check(spool: LiveSpool): Promise<Checked> {
    const current = currentPath(spool.directory);
    const sizeBytes = await sizeOf(current);
    if (sizeBytes === undefined) {
      // An earlier rotation was cut off between the rename and the reopening.
      await this.#reopen(spool);
      return { currentBytes: 0, closedBytes: 0 };
    }
    if (sizeBytes < spool.maxBytes || !(await this.#rotate(spool))) return { currentBytes: sizeBytes, closedBytes: 0 };
    await prune(spool);
    return { currentBytes: (await sizeOf(current)) ?? 0, closedBytes: sizeBytes };
  }

  async #rotate(spool: LiveSpool): Promise<boolean> {
    const current = currentPath(spool.directory);
    // Told to reopen a file that it does not hold, the monitor would replace lines with nothing.
    if (!(await spool.openPaths()).includes(current)) return false;
    const number = (closedNumbers(spool.directory).at(-1) ?? 0) + 1;
    // The monitor ends, without an exit record, when it cannot make this file: on a full disk it must be there already.
    await writeFile(join(spool.directory, temporaryName), '', { mode: 0o640 });
    await rename(current, closedPath(spool.directory, number));
    await this.#reopen(spool);
    return true;
  }

  /** Brings the writer from a file that was renamed to a new one. Does nothing when it holds the current one, or is gone. */
  async #reopen(spool: LiveSpool): Promise<void> {
    const current = currentPath(spool.directory);
    const deadline = Date.now() + 2_000;
    if (!(await holdsClosed(spool))) return;
    await writeFile(join(spool.directory, temporaryName), '', { mode: 0o640 });
    await spool.reopen();
    // One message is enough, and a second one would replace the new file: wait for it instead.
    while (Date.now() < deadline) {
      if ((await sizeOf(current)) !== undefined) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Whether the writer's file is one that was closed by a rename. */
async function holdsClosed(spool: LiveSpool): Promise<boolean> {
  const prefix = `${currentPath(spool.directory)}.`;
  return (await spool.openPaths()).some((path) => path.startsWith(prefix) && /^\d+$/.test(path.slice(prefix.length)));
}

async function prune(spool: LiveSpool): Promise<void> {
  const closed = closedNumbers(spool.directory);
  const keep = Math.max(0, spool.maxFiles - 1);
  for (const number of closed.slice(0, Math.max(0, closed.length - keep))) await rm(closedPath(spool.directory, number), { force: true });
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
