import { cancelled, throwIfAborted } from './limits.ts';

/** What a run says to those who wait for it. */
export type FlightMessage =
  | { readonly kind: 'started' }
  | { readonly kind: 'output'; readonly stream: 'stdout' | 'stderr'; readonly data: Buffer };

export type FlightContext = {
  /** Aborted when the last one who waits has gone. */
  readonly signal: AbortSignal;
  /** To all who wait; who comes later gets what was said before. */
  readonly publish: (message: FlightMessage) => void;
  /** Called when the last one who waits has taken the result. */
  readonly onDone: (dispose: () => Promise<void>) => void;
};

type Flight<T> = {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  readonly listeners: Set<(message: FlightMessage) => void>;
  readonly said: FlightMessage[];
  saidBytes: number;
  waiters: number;
  settled: boolean;
  disposers: (() => Promise<void>)[];
};

/** What late comers are told of the past. */
const replayLimit = { bytes: 1 << 20, messages: 4096 };

/**
 * Work in flight, by key: builds that need the same step at the same time share one run. One that is cancelled only stops waiting; the run
 * itself is aborted when nobody waits any more, and then the last one stays until it has cleaned up.
 */
export class Flights<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /** `claim` secures the result for this waiter; until all have done so the flight's own claim stands. */
  async join(
    key: string,
    options: { signal: AbortSignal; onMessage: (message: FlightMessage) => void; claim: (value: T) => Promise<void> },
    start: (context: FlightContext) => Promise<T>,
  ): Promise<T> {
    throwIfAborted(options.signal);
    const flight = this.#flights.get(key) ?? this.#start(key, start);
    flight.waiters++;
    for (const message of flight.said) options.onMessage(message);
    flight.listeners.add(options.onMessage);
    try {
      const value = await untilAborted(flight.promise, options.signal);
      await options.claim(value);
      return value;
    } finally {
      flight.listeners.delete(options.onMessage);
      await this.#leave(key, flight);
    }
  }

  #start(key: string, start: (context: FlightContext) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const listeners = new Set<(message: FlightMessage) => void>();
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
          publish: (message) => {
            remember(flight, message);
            for (const listener of listeners) listener(message);
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

/** Keeps the newest output; that the run has started stays known. */
function remember<T>(flight: Flight<T>, message: FlightMessage): void {
  flight.said.push(message);
  flight.saidBytes += sizeOf(message);
  while (flight.saidBytes > replayLimit.bytes || flight.said.length > replayLimit.messages) {
    const oldest = flight.said.findIndex((said) => said.kind === 'output');
    const [gone] = flight.said.splice(oldest, 1);
    flight.saidBytes -= gone === undefined ? 0 : sizeOf(gone);
  }
}

function sizeOf(message: FlightMessage): number {
  return message.kind === 'output' ? message.data.length : 0;
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(cancelled());
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
