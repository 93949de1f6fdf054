import type { BuildLine } from '../../api-types/build.ts';
import { showDuration, type Vertex, Vertices } from './vertices.ts';

/** What is to be said of a build when it is over: why steps ran, and when. */
export class BuildNotes {
  readonly #vertices = new Vertices();
  readonly #beganAt = new Map<string, number>();
  readonly #now: () => number;
  readonly #startedMs: number;
  #warnings = 0;

  /** Any clock that does not go back, in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#startedMs = now();
  }

  get warnings(): number {
    return this.#warnings;
  }

  line(line: BuildLine): void {
    if (line.kind === 'warning') this.#warnings++;
    if (line.kind !== 'vertex') return;
    const now = this.#now();
    const vertex = this.#vertices.update(line, now);
    // A step's own time is what it ran, not what it waited for others.
    if (line.state === 'running') this.#beganAt.set(line.vertex, now);
    else if (!this.#beganAt.has(line.vertex)) this.#beganAt.set(line.vertex, now - (vertex.durationMs ?? 0));
  }

  /** A line for each vertex: hit or miss, and why. */
  explanation(): string[] {
    return this.#vertices.all().map((vertex) => {
      const what = vertex.state === 'cached' ? 'hit ' : vertex.state === 'done' && vertex.reason !== undefined ? 'miss' : vertex.state;
      const time = vertex.state === 'cached' ? '' : ` (${showDuration(vertex.durationMs ?? 0)})`;
      return `#${vertex.number} ${what} ${vertex.name}${vertex.reason === undefined ? '' : `: ${vertex.reason}`}${time}`;
    });
  }

  /** As chrome://tracing and Perfetto open it (Trace Event Format): steps that ran side by side are in rows of their own. Times in microseconds. */
  trace(): { traceEvents: object[]; displayTimeUnit: 'ms' } {
    const spans = [...this.#beganAt]
      .flatMap(([id, beganMs]) => {
        const vertex = this.#vertices.get(id);
        return vertex === undefined ? [] : [{ vertex, beganMs, endedMs: beganMs + (vertex.durationMs ?? 0) }];
      })
      .sort((a, b) => a.beganMs - b.beganMs);
    const rows: number[] = [];
    const traceEvents = spans.map(({ vertex, beganMs, endedMs }) => {
      const free = rows.findIndex((until) => until <= beganMs);
      const row = free < 0 ? rows.length : free;
      rows[row] = endedMs;
      return traceEvent(vertex, { row, atMs: beganMs - this.#startedMs, durationMs: endedMs - beganMs });
    });
    return { traceEvents, displayTimeUnit: 'ms' };
  }
}

function traceEvent(vertex: Vertex, { row, atMs, durationMs }: { row: number; atMs: number; durationMs: number }): object {
  return {
    name: vertex.name,
    cat: vertex.state,
    ph: 'X',
    ts: Math.max(0, Math.round(atMs * 1000)),
    dur: Math.round(durationMs * 1000),
    pid: 1,
    tid: row + 1,
    args: {
      state: vertex.state,
      ...(vertex.reason === undefined ? {} : { reason: vertex.reason }),
      ...(vertex.error === undefined ? {} : { error: vertex.error }),
    },
  };
}
