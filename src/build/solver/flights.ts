import { cancelled, throwIfAborted } from './limits.ts';

export type Output = { readonly stream: 'stdout' | 'stderr'; readonly data: Buffer };

export type FlightContext = {
  /** Aborted when the last one who waits has gone. */
  readonly signal: AbortSignal;
  /** To all who wait; who comes later gets what was said before. */
  readonly publish: (output: Output) => void;
  /** Called when the last one who waits has taken the result. */
  readonly onDone: (dispose: () => Promise<void>) => void;
};

type Flight<T> = {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  readonly listeners: Set<(output: Output) => void>;
  readonly said: Output[];
  saidBytes: number;
  waiters: number;
  settled: boolean;
  disposers: (() => Promise<void>)[];
};

/** What late comers are told of the past, in bytes. */
const replayLimit = 1 << 20;

/**
 * Work in flight, by key: builds that need the same step at the same time share one run. One that is cancelled only stops waiting; the run
 * itself is aborted when nobody waits any more, and then the last one stays until it has cleaned up.
 */
export class Flights<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /** `claim` secures the result for this waiter; until all have done so the flight's own claim stands. */
  async join(
    key: string,
    options: { signal: AbortSignal; onOutput: (output: Output) => void; claim: (value: T) => Promise<void> },
    start: (context: FlightContext) => Promise<T>,
  ): Promise<T> {
    throwIfAborted(options.signal);
    const flight = this.#flights.get(key) ?? this.#start(key, start);
    flight.waiters++;
    for (const output of flight.said) options.onOutput(output);
    flight.listeners.add(options.onOutput);
    try {
      const value = await untilAborted(flight.promise, options.signal);
      await options.claim(value);
      return value;
    } finally {
      flight.listeners.delete(options.onOutput);
      await this.#leave(key, flight);
    }
  }

  #start(key: string, start: (context: FlightContext) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const listeners = new Set<(output: Output) => void>();
    const flight: Flight<T> = {
      controller,
      listeners,
      said: [],
      saidBytes: 0,
      waiters: 0,
      settled: false,
      disposers: [],
      // The flight must be known before it starts, so that `publish` finds it.
      promise: Promise.resolve().then(() =>
        start({
          signal: controller.signal,
          publish: (output) => {
            remember(flight, output);
            for (const listener of listeners) listener(output);
          },
          onDone: (dispose) => flight.disposers.push(dispose),
        }),
      ),
    };
    this.#flights.set(key, flight);
    const settle = () => {
      flight.settled = true;
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    flight.promise.then(settle, settle);
    return flight;
  }

  async #leave(key: string, flight: Flight<T>): Promise<void> {
    flight.waiters--;
    if (flight.waiters > 0) return;
    if (!flight.settled) {
      // Nobody may join a run that is being aborted.
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
      flight.controller.abort();
      await flight.promise.catch(() => undefined);
    }
    for (const dispose of flight.disposers.splice(0)) await dispose();
  }
}

function remember<T>(flight: Flight<T>, output: Output): void {
  flight.said.push(output);
  flight.saidBytes += output.data.length;
  while (flight.saidBytes > replayLimit && flight.said.length > 1) flight.saidBytes -= flight.said.shift()?.data.length ?? 0;
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(cancelled());
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
