/** What a result would cost to fetch was more than it is worth. */
export class TooSlow extends Error {}

/** How long what is waited for. In milliseconds. */
export type CachePolicy = {
  /** For what a cache has, over all steps of a build together; what comes later is used from then on. */
  readonly patienceMs: number;
  /** A result that took less to make is made anew. */
  readonly leastCostMs: number;
  /** Fetching a result may always take so long, whatever it took to make. */
  readonly graceMs: number;
  /** What counts for a result of which nobody knows how long it took. */
  readonly unknownCostMs: number;
};

export const defaultPolicy: CachePolicy = { patienceMs: 2_000, leastCostMs: 20, graceMs: 250, unknownCostMs: 10_000 };

type Measured = { readonly bytes: number; readonly ms: number };

/** Transfers of less say nothing of how fast a place is. */
const leastMeasuredBytes = 256 * 1024;
/** So long nobody waits for a place that could not be reached in time. */
const lateForMs = 60_000;

/** What is known of the places of caches, from build to build. In memory only. */
export class Speeds {
  /** Bytes a millisecond. */
  readonly #speeds = new Map<string, number>();
  readonly #late = new Map<string, number>();

  of(place: string): number | undefined {
    return this.#speeds.get(place);
  }

  measured(place: string, { bytes, ms }: Measured): void {
    if (bytes < leastMeasuredBytes || ms <= 0) return;
    const before = this.#speeds.get(place);
    const now = bytes / ms;
    // The newest counts half, so that a place that has recovered is soon used again.
    this.#speeds.set(place, before === undefined ? now : (before + now) / 2);
  }

  late(place: string): void {
    this.#late.set(place, Date.now());
  }

  onTime(place: string): void {
    this.#late.delete(place);
  }

  isLate(place: string): boolean {
    const at = this.#late.get(place);
    return at !== undefined && Date.now() - at < lateForMs;
  }
}

/** Before that nothing is concluded from how fast bytes come. */
const settleMs = 500;
const checkEveryMs = 100;

/**
 * Watches one transfer, and aborts it once it is likely to take longer than what it saves: by the speed that the place has had when it is known what has to come, by its own speed from then on.
 */
export class TransferWatch {
  readonly #abort = new AbortController();
  readonly #worthMs: number;
  readonly #speed: number | undefined;
  readonly #startedAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  #received = 0;
  /** Bytes that have to come after what had come when that became known. */
  #toCome: number | undefined;
  #plannedAt = 0;
  #before = 0;

  /** `worthMs`: what making it would take. `speed`: bytes a millisecond, where it is known. */
  constructor({ worthMs, speed }: { worthMs: number; speed: number | undefined }) {
    this.#worthMs = worthMs;
    this.#speed = speed;
    this.#timer = setInterval(() => this.#check(performance.now()), checkEveryMs);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  planned(bytes: number): void {
    this.#toCome = bytes;
    this.#plannedAt = performance.now();
    this.#before = this.#received;
    if (this.#speed !== undefined && bytes / this.#speed > this.#worthMs) this.#giveUp(bytes / this.#speed);
  }

  received(total: number): void {
    this.#received = total;
  }

  measured(): Measured {
    return { bytes: this.#received, ms: performance.now() - this.#startedAt };
  }

  #check(now: number): void {
    if (this.#toCome === undefined) {
      // What it costs to know what has to come is small; where it is not, the place is slow.
      if (now - this.#startedAt > this.#worthMs) this.#giveUp(now - this.#startedAt);
      return;
    }
    const elapsed = now - this.#plannedAt;
    if (elapsed < Math.min(settleMs, this.#worthMs)) return;
    const came = this.#received - this.#before;
    const left = this.#toCome - came;
    if (left <= 0) return;
    const leftMs = came <= 0 ? Number.POSITIVE_INFINITY : (left * elapsed) / came;
    if (came <= 0 ? elapsed > this.#worthMs : leftMs > this.#worthMs) this.#giveUp(leftMs);
  }

  #giveUp(ms: number): void {
    const time = Number.isFinite(ms) ? `would take ${(ms / 1000).toFixed(1)} s` : 'nothing has come yet';
    this.#abort.abort(new TooSlow(`${time}, and making it took ${(this.#worthMs / 1000).toFixed(1)} s`));
  }
}
