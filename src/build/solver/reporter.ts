import type { Vertex } from '../graph/vertex.ts';
import type { BuildEvent } from '../port.ts';
import { isCancelled } from './limits.ts';

type VertexEvent = Extract<BuildEvent, { kind: 'vertex' }>;

/** Tells of the steps of one build. */
export class Reporter {
  readonly #onEvent: (event: BuildEvent) => void;
  readonly #startedAt = new Map<string, number>();
  readonly #running = new Set<string>();
  readonly #failures = new WeakSet<object>();

  constructor(onEvent: (event: BuildEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** Its time counts from here, until it runs: then from there. What it waits for is not its own. */
  begin(vertex: Vertex): void {
    this.#startedAt.set(vertex.id, performance.now());
  }

  running(vertex: Vertex, reason: string): void {
    this.begin(vertex);
    this.#running.add(vertex.id);
    this.#emit(vertex, { state: 'running', reason });
  }

  done(vertex: Vertex, state: 'cached' | 'done', reason: string): void {
    this.#emit(vertex, { state, reason, durationMs: this.#durationMs(vertex) });
  }

  output(vertex: Vertex, stream: 'stdout' | 'stderr', data: Buffer): void {
    this.#onEvent({ kind: 'output', vertex: vertex.id, stream, data });
  }

  warning(message: string, line?: number): void {
    this.#onEvent({ kind: 'warning', message, ...(line === undefined ? {} : { line }) });
  }

  /** An error passes through every step that waited for the failed one; only the failed one tells of it. */
  failure(vertex: Vertex, error: unknown): void {
    const durationMs = this.#durationMs(vertex);
    if (isCancelled(error)) {
      if (this.#running.has(vertex.id)) this.#emit(vertex, { state: 'cancelled', durationMs });
    } else if (!this.isTold(error)) {
      this.tell(error);
      this.#emit(vertex, { state: 'error', durationMs, error: error instanceof Error ? error.message : String(error) });
    }
  }

  /** The failure needs no more telling. */
  tell(error: unknown): void {
    if (typeof error === 'object' && error !== null) this.#failures.add(error);
  }

  isTold(error: unknown): boolean {
    return typeof error === 'object' && error !== null && this.#failures.has(error);
  }

  #durationMs(vertex: Vertex): number {
    const startedAt = this.#startedAt.get(vertex.id);
    return startedAt === undefined ? 0 : performance.now() - startedAt;
  }

  #emit(vertex: Vertex, event: Omit<VertexEvent, 'kind' | 'vertex' | 'name'>): void {
    this.#onEvent({ kind: 'vertex', vertex: vertex.id, name: vertex.name, ...event });
  }
}
