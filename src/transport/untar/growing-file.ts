import { EngineError } from '../../base/errors.ts';

/** How often a reader that waits looks whether its job is still wanted. */
const lookEveryMs = 200;
const state = { growing: 0, whole: 1, failed: 2 } as const;
const turnSlot = 2;
const stateSlot = 3;

/**
 * How far a file is that one thread writes and another one reads: 16 bytes of shared memory, the count of bytes that may be read first. The writer's side never waits.
 */
export class GrowingFile {
  readonly shared: SharedArrayBuffer;
  readonly #available: BigInt64Array;
  readonly #flags: Int32Array;

  constructor(shared = new SharedArrayBuffer(16)) {
    this.shared = shared;
    this.#available = new BigInt64Array(shared, 0, 1);
    this.#flags = new Int32Array(shared);
  }

  /** The first `bytes` bytes are in the file. */
  grow(bytes: number): void {
    Atomics.store(this.#available, 0, BigInt(bytes));
    this.#turn();
  }

  /** Nothing more comes. */
  end(): void {
    Atomics.store(this.#flags, stateSlot, state.whole);
    this.#turn();
  }

  /** The rest will not come; the reader gets Unavailable `DOWNLOAD_FAILED`. */
  fail(): void {
    Atomics.store(this.#flags, stateSlot, state.failed);
    this.#turn();
  }

  /** Waits until there is more than `position` bytes, or nothing will come. `onWait` is called now and then. */
  async waitBeyond(position: number, onWait: () => void): Promise<number> {
    for (;;) {
      const turn = Atomics.load(this.#flags, turnSlot);
      const now = Atomics.load(this.#flags, stateSlot);
      const available = Number(Atomics.load(this.#available, 0));
      if (now === state.failed) throw new EngineError('Unavailable', 'DOWNLOAD_FAILED', 'the rest of the blob did not come');
      if (available > position || now === state.whole) return available;
      onWait();
      const waiting = Atomics.waitAsync(this.#flags, turnSlot, turn, lookEveryMs);
      if (waiting.async) await waiting.value;
    }
  }

  #turn(): void {
    Atomics.add(this.#flags, turnSlot, 1);
    Atomics.notify(this.#flags, turnSlot);
  }
}
