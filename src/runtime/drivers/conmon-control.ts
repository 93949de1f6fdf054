import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { isErrno } from '../../base/errors.ts';

/** conmon acts on its control FIFO once a read: two messages in one read run the first twice and lose the second (2.1.6). */
const spacingMs = 25;

type Pending = { resize?: { rows: number; columns: number } | undefined; reopen: boolean; running: Promise<void> };

/** Sends messages to monitors one at a time, with room between them. Of several sizes that wait, the last is sent. */
export class ControlQueue {
  readonly #pending = new Map<string, Pending>();

  resize(path: string, size: { rows: number; columns: number }): Promise<void> {
    return this.#add(path, (pending) => {
      pending.resize = size;
    });
  }

  reopen(path: string): Promise<void> {
    return this.#add(path, (pending) => {
      pending.reopen = true;
    });
  }

  #add(path: string, set: (pending: Pending) => void): Promise<void> {
    const existing = this.#pending.get(path);
    if (existing) {
      set(existing);
      return existing.running;
    }
    const pending: Pending = { reopen: false, running: Promise.resolve() };
    set(pending);
    this.#pending.set(path, pending);
    pending.running = this.#drain(path, pending).finally(() => this.#pending.delete(path));
    return pending.running;
  }

  async #drain(path: string, pending: Pending): Promise<void> {
    for (;;) {
      if (pending.reopen) {
        pending.reopen = false;
        await send(path, '2 0 0\n');
      } else if (pending.resize) {
        const { rows, columns } = pending.resize;
        pending.resize = undefined;
        await send(path, `1 ${rows} ${columns}\n`);
      } else return;
      await new Promise((resolve) => setTimeout(resolve, spacingMs));
    }
  }
}

/** A monitor that is gone is no error: there is nobody left to tell. */
async function send(path: string, message: string): Promise<void> {
  try {
    // Without O_NONBLOCK the open would wait for ever when nobody reads.
    await using file = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    await file.write(message);
  } catch (error) {
    if (!isErrno(error, 'ENXIO', 'ENOENT', 'EPIPE')) throw error;
  }
}
