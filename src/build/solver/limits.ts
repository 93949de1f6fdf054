import { EngineError } from '../../base/errors.ts';

/** At most `size` holders at a time; the others wait in order. An aborted waiter leaves the queue. */
export class Semaphore {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(size: number) {
    this.#free = size;
  }

  /** `leave` gives the place to the next one before the action has ended. */
  async run<T>(signal: AbortSignal, action: (leave: () => void) => Promise<T>): Promise<T> {
    await this.#acquire(signal);
    let left = false;
    const leave = () => {
      if (left) return;
      left = true;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    };
    try {
      return await action(leave);
    } finally {
      leave();
    }
  }

  #acquire(signal: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const enter = () => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        const at = this.#waiting.indexOf(enter);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(cancelled());
      };
      this.#waiting.push(enter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }
}

export function cancelled(): EngineError {
  return new EngineError('Cancelled', 'CANCELLED', 'the build was cancelled');
}

export function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw cancelled();
}

export function isCancelled(error: unknown): boolean {
  return (error instanceof EngineError && error.kind === 'Cancelled') || (error instanceof Error && error.name === 'AbortError');
}
