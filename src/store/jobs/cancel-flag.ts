import { EngineError } from '../../base/errors.ts';

/** Tells a thread that never returns to its event loop that its job is no longer wanted: one shared integer. */
export class CancelFlag {
  readonly shared: SharedArrayBuffer;
  readonly #view: Int32Array;

  constructor(shared = new SharedArrayBuffer(4)) {
    this.shared = shared;
    this.#view = new Int32Array(shared);
  }

  raise(): void {
    Atomics.store(this.#view, 0, 1);
  }

  get raised(): boolean {
    return Atomics.load(this.#view, 0) !== 0;
  }

  /** Throws Cancelled `CANCELLED` once the flag is up. Costs a few nanoseconds. */
  check(): void {
    if (this.raised) throw cancelled();
  }
}

export function cancelled(): EngineError {
  return new EngineError('Cancelled', 'CANCELLED', 'the operation was cancelled');
}
