import { type Span, Timeline } from '../../base/timeline.ts';

/** What `slipway run --timing` shows: the parts of one run, from this process's start to its end, those of the daemon among them. */
export class RunTimings {
  readonly #startMs: number;
  readonly #now: () => number;
  #askedMs = 0;
  #toldMs = 0;
  #daemon: readonly Span[] = [];

  constructor(startMs = performance.timeOrigin, now: () => number = Timeline.now) {
    this.#startMs = startMs;
    this.#now = now;
  }

  /** The request goes out now. */
  asked(): void {
    this.#askedMs = this.#now();
  }

  /** The daemon's parts, which come with the end of what it did. */
  told(spans: readonly Span[]): void {
    this.#toldMs = this.#now();
    this.#daemon = sameClock(spans, this.#askedMs, this.#toldMs);
  }

  /** One part a line, in the order in which they began; milliseconds. */
  table(): string {
    const endMs = this.#now();
    const [firstMs, lastMs] = [
      Math.min(...this.#daemon.map(({ startMs }) => startMs)),
      Math.max(...this.#daemon.map(({ endMs }) => endMs)),
    ];
    const own: Span[] = [{ name: 'cli start', startMs: this.#startMs, endMs: this.#askedMs }];
    if (this.#daemon.length > 0) {
      own.push({ name: 'connect', startMs: this.#askedMs, endMs: firstMs }, { name: 'answer', startMs: lastMs, endMs: this.#toldMs });
      own.push({ name: 'clean-up', startMs: this.#toldMs, endMs });
    }
    const rows = [...own, ...this.#daemon]
      .sort((a, b) => a.startMs - b.startMs)
      .map(({ name, startMs, endMs }) => [name, shown(startMs - this.#startMs), shown(endMs - startMs)] as const);
    const total = ['total', '', shown(endMs - this.#startMs)] as const;
    return [['part', 'from ms', 'took ms'] as const, ...rows, total]
      .map(([name, from, took]) => `${name.padEnd(16)}${from.padStart(10)}${took.padStart(10)}\n`)
      .join('');
  }
}

function shown(ms: number): string {
  return ms.toFixed(1);
}

/** Another host's clock is another one: its spans are moved into the middle of the time that they must lie in. */
function sameClock(spans: readonly Span[], fromMs: number, toMs: number): Span[] {
  const [firstMs, lastMs] = [Math.min(...spans.map(({ startMs }) => startMs)), Math.max(...spans.map(({ endMs }) => endMs))];
  if (firstMs >= fromMs && lastMs <= toMs) return [...spans];
  const byMs = (fromMs + toMs) / 2 - (firstMs + lastMs) / 2;
  return spans.map(({ name, startMs, endMs }) => ({ name, startMs: startMs + byMs, endMs: endMs + byMs }));
}
