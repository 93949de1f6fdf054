import type { EventMessage } from '../api-types/events.ts';

/** An event with its exact time. */
export type StampedEvent = { timeNs: bigint; message: Omit<EventMessage, 'time' | 'timeNano'> };

export type EventInput = {
  type: EventMessage['Type'];
  action: string;
  id: string;
  attributes: Record<string, string>;
  from?: string | undefined;
};

/** Events kept for `since`. As many as tell the last minutes of a busy host in about a megabyte. */
const ringSize = 2048;

/** A listener that does not read is dropped past this many events rather than filling the memory. */
const maxBacklog = 10_000;

/**
 * What happened in the engine, in order, for GET /events. In memory only: events of an earlier daemon are not replayed. Times strictly
 * increase, so that `since` set to the last one seen neither loses nor repeats.
 */
export class EventBus {
  readonly #ring: StampedEvent[] = [];
  readonly #listeners = new Set<(event: StampedEvent) => void>();
  #lastNs = 0n;
  /** By container, then by the network's id. */
  readonly #joined = new Map<string, Map<string, string>>();

  get listeners(): number {
    return this.#listeners.size;
  }

  /** Networks that a container was told to have joined and not to have left. */
  joinedBy(container: string): { id: string; name: string }[] {
    return [...(this.#joined.get(container) ?? [])].map(([id, name]) => ({ id, name }));
  }

  publish(input: EventInput): void {
    if (input.type === 'network') this.#noteJoined(input);
    const now = BigInt(Date.now()) * 1_000_000n;
    this.#lastNs = now > this.#lastNs ? now : this.#lastNs + 1n;
    const id = input.id === '' ? {} : { id: input.id };
    const legacy = input.type === 'container' || input.type === 'image' ? { status: input.action, ...id } : {};
    const event: StampedEvent = {
      timeNs: this.#lastNs,
      message: {
        ...legacy,
        ...(input.from === undefined ? {} : { from: input.from }),
        Type: input.type,
        Action: input.action,
        Actor: { ID: input.id, Attributes: input.attributes },
        scope: 'local',
      },
    };
    this.#ring.push(event);
    if (this.#ring.length > ringSize) this.#ring.shift();
    for (const listener of this.#listeners) listener(event);
  }

  #noteJoined({ action, id, attributes: { container, name = '' } }: EventInput): void {
    if (container === undefined) return;
    const networks = this.#joined.get(container) ?? new Map<string, string>();
    if (action === 'connect') networks.set(id, name);
    if (action === 'disconnect') networks.delete(id);
    if (networks.size > 0) this.#joined.set(container, networks);
    else this.#joined.delete(container);
  }

  /** Kept events from `sinceNs` on, then, unless `untilNs` is past, new ones until then or until `signal`. Without `sinceNs` only new ones. */
  async *read(options: { sinceNs?: bigint | undefined; untilNs?: bigint | undefined; signal: AbortSignal }): AsyncGenerator<StampedEvent> {
    const { sinceNs, untilNs, signal } = options;
    const queue: StampedEvent[] =
      sinceNs === undefined && untilNs === undefined ? [] : this.#ring.filter(({ timeNs }) => timeNs >= (sinceNs ?? 0n));
    let wake: () => void = () => {};
    let overrun = false;
    const listener = (event: StampedEvent) => {
      if (queue.length < maxBacklog) queue.push(event);
      else overrun = true;
      wake();
    };
    const abort = () => wake();
    let over = false;
    const finish = () => {
      over = true;
      wake();
    };
    this.#listeners.add(listener);
    signal.addEventListener('abort', abort);
    // A flag and not another look at the clock: a timer may fire a little before its time.
    const timer = untilNs === undefined ? undefined : setTimeout(finish, msUntil(untilNs));
    try {
      while (!signal.aborted) {
        for (let event = queue.shift(); event !== undefined; event = queue.shift()) {
          if (untilNs !== undefined && event.timeNs > untilNs) return;
          yield event;
        }
        if (overrun || over || (untilNs !== undefined && msUntil(untilNs) <= 0)) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (queue.length > 0 || over || signal.aborted) resolve();
        });
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      this.#listeners.delete(listener);
    }
  }
}

/** JSON of an event with `timeNano` in full: it does not fit a JavaScript number. */
export function eventJson({ message, timeNs }: StampedEvent): string {
  return `${JSON.stringify(message).slice(0, -1)},"time":${timeNs / 1_000_000_000n},"timeNano":${timeNs}}`;
}

function msUntil(timeNs: bigint): number {
  return Math.max(0, Math.min(Number(timeNs / 1_000_000n) - Date.now(), 2 ** 31 - 1));
}
