import { EngineError } from '../../base/errors.ts';
import type { TreeId } from '../model.ts';
import { Witness } from './witness.ts';

/** How long a tree that a job gave back is kept when nobody took it: its caller is about to. */
const returnedMs = 10 * 60_000;
const returnedLimit = 20_000;

/**
 * What jobs rely on, for the collector: a fixed set of notes, one for each thread that can run, so that a collection that has begun sees those of jobs
 * that begin later; and the trees that were given back lately. While a collection is under way no note is forgotten.
 */
export class WitnessBook {
  /** All there will ever be. */
  readonly all: readonly SharedArrayBuffer[];
  readonly #free: SharedArrayBuffer[];
  readonly #returned = new Map<TreeId, number>();
  #watchers = 0;

  constructor(threads: number) {
    this.all = Array.from({ length: threads }, () => new Witness().shared);
    this.#free = [...this.all];
  }

  open(): SharedArrayBuffer {
    const notes = this.#free.pop();
    if (notes === undefined) throw new EngineError('Internal', 'WITNESS_MISSING', 'more jobs run than there are threads for');
    return notes;
  }

  /** When its job has been committed, or cleaned away. `roots` are the trees that its caller has now. */
  close(notes: SharedArrayBuffer, roots: readonly TreeId[]): void {
    for (const root of roots) this.returned(root);
    if (this.#watchers === 0) clear(notes);
    this.#free.push(notes);
  }

  /** Somebody was given this tree and is about to refer to it. */
  returned(tree: TreeId): void {
    this.#returned.delete(tree);
    this.#returned.set(tree, performance.now());
    if (this.#returned.size > returnedLimit) for (const oldest of this.#returned.keys()) return void this.#returned.delete(oldest);
  }

  /** Trees that were given back lately. */
  recent(): TreeId[] {
    const since = performance.now() - returnedMs;
    return [...this.#returned].filter(([, at]) => at >= since).map(([tree]) => tree);
  }

  /** From now on no note is forgotten, until the watch ends. */
  watch(): Disposable {
    this.#watchers++;
    return {
      [Symbol.dispose]: () => {
        if (--this.#watchers === 0) for (const notes of this.#free) clear(notes);
      },
    };
  }
}

function clear(notes: SharedArrayBuffer): void {
  new Uint32Array(notes, 0, 2).fill(0);
}
