import { SystemCallError } from '../../kernel/libc.ts';

/** Enough that neither side waits for the other because of a few large files. */
const slots = 64;
export const slotBytes = 256 * 1024;

const state = { free: 0, full: 1 } as const;
/** Places in the control array after one state a slot. */
const stopAt = slots;
const endedAt = slots + 1;
const errnoAt = slots + 2;
const controlInts = slots * 3 + 3;
const lengthsAt = slots + 3;
const filesAt = slots * 2 + 3;

export type SharedRing = { control: SharedArrayBuffer; data: SharedArrayBuffer };

/**
 * Hands objects from the thread that reads and hashes to one that creates their files: creating costs as much as all the rest, and in
 * the kernel. Slots of shared memory are filled and emptied in order, so each side looks at one state only, and sleeps when it must.
 */
export class WriteRing {
  readonly shared: SharedRing;
  readonly #control: Int32Array;
  readonly #data: Uint8Array;
  #next = 0;

  constructor(shared?: SharedRing) {
    this.shared = shared ?? {
      control: new SharedArrayBuffer(controlInts * 4),
      data: new SharedArrayBuffer(slots * slotBytes),
    };
    this.#control = new Int32Array(this.shared.control);
    this.#data = new Uint8Array(this.shared.data);
  }

  /** Gives a file's content to the writer; waits while all slots are full. Throws what the writer met, as SystemCallError. */
  put(file: number, bytes: Uint8Array): void {
    const slot = this.#waitFor(state.free);
    this.#throwFailure();
    this.#data.set(bytes, slot * slotBytes);
    this.#control[lengthsAt + slot] = bytes.length;
    this.#control[filesAt + slot] = file;
    this.#pass(slot, state.full);
  }

  /** Waits until everything given is written. Throws what the writer met. */
  flush(): void {
    for (let slot = 0; slot < slots; slot++) this.#sleepUntil(slot, state.free);
    this.#throwFailure();
  }

  /** Has the writer end after what it is doing, and waits for that: from then on it makes no file. */
  stop(): void {
    Atomics.store(this.#control, stopAt, 1);
    Atomics.notify(this.#control, this.#next);
    while (Atomics.load(this.#control, endedAt) === 0) Atomics.wait(this.#control, endedAt, 0, 1000);
  }

  /** The writer's side: calls `write` for each file in turn until it is told to stop. After a failure it only empties slots. */
  serve(write: (file: number, bytes: Uint8Array) => void): void {
    try {
      for (;;) {
        const slot = this.#waitFor(state.full);
        if (Atomics.load(this.#control, stopAt) !== 0) return;
        if (Atomics.load(this.#control, errnoAt) === 0) this.#writeSlot(slot, write);
        this.#pass(slot, state.free);
      }
    } finally {
      Atomics.store(this.#control, endedAt, 1);
      Atomics.notify(this.#control, endedAt);
    }
  }

  #writeSlot(slot: number, write: (file: number, bytes: Uint8Array) => void): void {
    const start = slot * slotBytes;
    const length = this.#control[lengthsAt + slot] ?? 0;
    try {
      write(this.#control[filesAt + slot] ?? 0, this.#data.subarray(start, start + length));
    } catch (error) {
      const errno = error instanceof Error && 'errno' in error ? Math.abs(Number(error.errno)) : EIO;
      Atomics.store(this.#control, errnoAt, errno || EIO);
    }
  }

  /** The next slot, once it has the wanted state (or the writer is to stop). */
  #waitFor(wanted: number): number {
    this.#sleepUntil(this.#next, wanted);
    return this.#next;
  }

  #sleepUntil(slot: number, wanted: number): void {
    for (;;) {
      const now = Atomics.load(this.#control, slot);
      if (now === wanted || Atomics.load(this.#control, stopAt) !== 0) return;
      // The time-out is for a stop that comes between the look and the sleep.
      Atomics.wait(this.#control, slot, now, 100);
    }
  }

  #pass(slot: number, to: number): void {
    Atomics.store(this.#control, slot, to);
    Atomics.notify(this.#control, slot);
    this.#next = (slot + 1) % slots;
  }

  #throwFailure(): void {
    const errno = Atomics.load(this.#control, errnoAt);
    if (errno !== 0) throw new SystemCallError('write', errno, undefined, 'an object could not be written');
  }
}

const EIO = 5;
