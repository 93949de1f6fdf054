import { availableParallelism } from 'node:os';

/**
 * Lets a few at a time through: so many starts side by side as there are processors to work on them. More would only take memory and the event loop from
 * each other, and the last would not be done sooner. In order of asking. One that takes longer than `patienceMs` waits for something else than
 * a processor, and no longer counts: what hangs keeps nobody else from starting.
 */
export class Gate {
  readonly #width: number;
  readonly #patienceMs: number;
  readonly #waiting: (() => void)[] = [];
  #inside = 0;

  constructor(options: { width: number; patienceMs: number }) {
    this.#width = options.width;
    this.#patienceMs = options.patienceMs;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#width) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#inside++;
    const leave = once(() => this.#leave());
    const timer = setTimeout(leave, this.#patienceMs);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
      leave();
    }
  }

  /** The next one takes the place that gets free. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#inside--;
  }
}

/** For an engine: more than twice as many as processors at a time did not make 200 starts quicker, only each of them slower. */
export function makeGates(width = Math.max(4, 2 * availableParallelism())): { starts: Gate; cleanUps: Gate } {
  const make = () => new Gate({ width, patienceMs: 5_000 });
  return { starts: make(), cleanUps: make() };
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    action();
  };
}
