/** A part of something that took time. Milliseconds since the epoch, with fractions: processes on one host compare them. */
export type Span = { name: string; startMs: number; endMs: number };

/** Gathers how long the parts of one request took. Parts overlap; they are in the order in which they ended. */
export class Timeline {
  readonly spans: Span[] = [];

  static now(): number {
    return performance.timeOrigin + performance.now();
  }

  /** A part that failed is in it too. */
  async time<T>(name: string, part: Promise<T> | (() => Promise<T>)): Promise<T> {
    const startMs = Timeline.now();
    try {
      return await (typeof part === 'function' ? part() : part);
    } finally {
      this.add(name, startMs);
    }
  }

  add(name: string, startMs: number, endMs = Timeline.now()): void {
    this.spans.push({ name, startMs, endMs });
  }
}
