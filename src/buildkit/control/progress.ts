import { create, toBinary } from '@bufbuild/protobuf';
import { type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { BuildEvent } from '../../build/port.ts';
import { sha256 } from '../../oci/digest.ts';
import {
  type StatusResponse,
  StatusResponseSchema,
  type Vertex,
  VertexLogSchema,
  VertexSchema,
  VertexStatusSchema,
  VertexWarningSchema,
} from '../gen/control_pb.ts';

/** As much output of one step as is told; BuildKit's own default. The rest of a step that talks without end is dropped. */
const maxLogBytes = 2 * 1024 * 1024;
/** Of all steps together, while nobody takes it. */
const maxQueuedBytes = 32 * 1024 * 1024;
/** Of one message; clients take four megabytes and more. */
const messageBytes = 1024 * 1024;

type Part = Partial<Pick<StatusResponse, 'vertexes' | 'statuses' | 'logs' | 'warnings'>>;

/**
 * What a build tells its watchers: vertices, their output, transfers. Kept from the start, so that a watcher that comes late misses nothing; what one watcher has taken
 * is let go of.
 */
export class BuildProgress {
  readonly #ref: string;
  readonly #vertices = new Map<string, { digest: string; name: string; startedAt: Timestamp; open: boolean }>();
  readonly #logBytes = new Map<string, number>();
  #queue: { part: Part; bytes: number }[] = [];
  #queuedBytes = 0;
  #wake: (() => void) | undefined;
  #ended = false;
  cached = 0;
  completed = 0;
  warnings = 0;

  constructor(ref: string) {
    this.#ref = ref;
  }

  get total(): number {
    return this.#vertices.size;
  }

  event(event: BuildEvent): void {
    if (event.kind === 'output') this.#log(event.vertex, event.stream === 'stderr' ? 2 : 1, event.data);
    else if (event.kind === 'warning') this.#warn(event.message);
    else if (event.kind === 'vertex') this.#vertex(event);
  }

  /** A step of the engine's own beside those of the graph. `run` may tell how far it is. */
  async step<T>(name: string, run: (report: (status: string, current: number, total?: number) => void) => Promise<T>): Promise<T> {
    const id = `step ${name}`;
    this.event({ kind: 'vertex', vertex: id, name, state: 'running' });
    try {
      const result = await run((status, current, total) => this.status(id, status, { current, total }));
      this.#closeStatuses(id);
      this.event({ kind: 'vertex', vertex: id, name, state: 'done' });
      return result;
    } catch (error) {
      this.event({ kind: 'vertex', vertex: id, name, state: 'error', error: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  readonly #statuses = new Map<string, Map<string, { startedAt: Timestamp; current: number; total: number }>>();

  /** How far something inside a vertex is, in bytes. */
  status(vertex: string, name: string, { current, total = 0 }: { current: number; total?: number | undefined }): void {
    const known = this.#vertices.get(vertex);
    if (known === undefined) return;
    const statuses = this.#statuses.get(vertex) ?? new Map();
    this.#statuses.set(vertex, statuses);
    const status = statuses.get(name) ?? { startedAt: now(), current, total };
    statuses.set(name, { ...status, current, total });
    this.#push({ statuses: [this.#statusMessage(known.digest, name, { ...status, current, total })] }, 200);
  }

  #closeStatuses(vertex: string): void {
    const known = this.#vertices.get(vertex);
    const statuses = this.#statuses.get(vertex);
    if (known === undefined || statuses === undefined) return;
    this.#statuses.delete(vertex);
    const messages = [...statuses].map(([name, status]) => this.#statusMessage(known.digest, name, status, now()));
    this.#push({ statuses: messages }, 200 * messages.length);
  }

  #statusMessage(
    vertex: string,
    name: string,
    { startedAt, current, total }: { startedAt: Timestamp; current: number; total: number },
    completed?: Timestamp,
  ) {
    return create(VertexStatusSchema, {
      ID: name,
      vertex,
      name,
      current: BigInt(Math.round(current)),
      total: BigInt(Math.round(total)),
      timestamp: now(),
      started: startedAt,
      ...(completed === undefined ? {} : { completed }),
    });
  }

  /** Nothing follows: watchers end once they have taken what there is. */
  end(): void {
    for (const [id, { open, name }] of this.#vertices) {
      if (open) this.event({ kind: 'vertex', vertex: id, name, state: 'cancelled' });
    }
    this.#ended = true;
    this.#wake?.();
  }

  /** What is there and what comes. Waits while whoever takes it is slow. */
  async *watch(signal: AbortSignal): AsyncGenerator<StatusResponse> {
    const wake = () => this.#wake?.();
    signal.addEventListener('abort', wake);
    try {
      while (!signal.aborted) {
        const parts = this.#take();
        if (parts.length > 0) yield merged(parts);
        else if (this.#ended) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  #take(): Part[] {
    let bytes = 0;
    let count = 0;
    for (const each of this.#queue) {
      if (count > 0 && bytes + each.bytes > messageBytes) break;
      bytes += each.bytes;
      count++;
    }
    this.#queuedBytes -= bytes;
    return this.#queue.splice(0, count).map(({ part }) => part);
  }

  #vertex(event: Extract<BuildEvent, { kind: 'vertex' }>): void {
    const known = this.#vertices.get(event.vertex);
    const startedAt = known?.startedAt ?? now(event.durationMs);
    const digest = known?.digest ?? `sha256:${sha256(`${this.#ref}\0${event.vertex}`)}`;
    const open = event.state === 'running';
    this.#vertices.set(event.vertex, { digest, name: event.name, startedAt, open });
    if (!open) this.#closeStatuses(event.vertex);
    if (event.state === 'cached') this.cached++;
    if (event.state === 'cached' || event.state === 'done') this.completed++;
    const vertex: Vertex = create(VertexSchema, { digest, name: event.name, started: startedAt, cached: event.state === 'cached' });
    if (!open) vertex.completed = now();
    if (event.state === 'error') vertex.error = event.error ?? 'failed';
    if (event.state === 'cancelled') vertex.error = 'context canceled';
    this.#push({ vertexes: [vertex] }, 200 + event.name.length);
  }

  #log(vertex: string, stream: number, data: Buffer): void {
    const digest = this.#vertices.get(vertex)?.digest;
    if (digest === undefined) return;
    const before = this.#logBytes.get(vertex) ?? 0;
    if (before > maxLogBytes) return;
    this.#logBytes.set(vertex, before + data.length);
    const full = before + data.length > maxLogBytes || this.#queuedBytes > maxQueuedBytes;
    const msg = full ? Buffer.from(`\n[output clipped, log limit ${maxLogBytes / 1024 / 1024}MiB reached]\n`) : data;
    if (full) this.#logBytes.set(vertex, maxLogBytes + 1);
    this.#push({ logs: [create(VertexLogSchema, { vertex: digest, stream: BigInt(stream), msg, timestamp: now() })] }, 100 + msg.length);
  }

  #warn(message: string): void {
    this.warnings++;
    const [short = '', ...detail] = message.split('\n');
    const vertex = [...this.#vertices.values()][0]?.digest ?? `sha256:${sha256(this.#ref)}`;
    const warning = create(VertexWarningSchema, {
      vertex,
      level: 1n,
      short: Buffer.from(short),
      detail: detail.map((line) => Buffer.from(line)),
    });
    this.#push({ warnings: [warning] }, 100 + message.length);
  }

  #push(part: Part, bytes: number): void {
    this.#queue.push({ part, bytes });
    this.#queuedBytes += bytes;
    this.#wake?.();
  }
}

export function encodeStatus(status: StatusResponse): Uint8Array {
  return toBinary(StatusResponseSchema, status);
}

function merged(parts: readonly Part[]): StatusResponse {
  return create(StatusResponseSchema, {
    vertexes: parts.flatMap((each) => each.vertexes ?? []),
    statuses: parts.flatMap((each) => each.statuses ?? []),
    logs: parts.flatMap((each) => each.logs ?? []),
    warnings: parts.flatMap((each) => each.warnings ?? []),
  });
}

function now(agoMs = 0): Timestamp {
  return timestampFromMs(Date.now() - Math.round(agoMs));
}
