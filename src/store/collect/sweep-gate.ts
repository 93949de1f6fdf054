import { setTimeout } from 'node:timers/promises';

/**
 * Raised by the sweeping thread while it has things hidden that it may yet bring back, some microseconds at a time. Commits wait for it, so that nobody
 * ever refers to something hidden.
 */
export class SweepGate {
  readonly shared: SharedArrayBuffer;
  readonly #view: Int32Array;

  constructor(shared = new SharedArrayBuffer(4)) {
    this.shared = shared;
    this.#view = new Int32Array(shared);
  }

  raise(): void {
    Atomics.store(this.#view, 0, 1);
  }

  lower(): void {
    Atomics.store(this.#view, 0, 0);
  }

  async settled(): Promise<void> {
    while (Atomics.load(this.#view, 0) !== 0) await setTimeout(1);
  }
}
