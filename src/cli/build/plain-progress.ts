import type { BuildLine, BuildResultLine } from '../../api-types/build.ts';
import { type Progress, summary } from './progress.ts';
import { LineSplitter, showDuration, type Vertex, Vertices } from './vertices.ts';

/**
 * Lines for logs and pipes, in BuildKit's plain form: `#5 [build 2/4] RUN npm ci`, `#5 0.812 added 57 packages`, `#5 DONE 2.1s`, `#6 CACHED`. A vertex that speaks
 * after another one has is named again.
 */
export class PlainProgress implements Progress {
  readonly #write: (text: string) => void;
  readonly #now: () => number;
  readonly #vertices = new Vertices();
  readonly #splitters = new Map<string, LineSplitter>();
  readonly #named = new Set<number>();
  readonly #startedMs: number;
  #last = 0;

  constructor(write: (text: string) => void, now: () => number = () => performance.now()) {
    this.#write = write;
    this.#now = now;
    this.#startedMs = now();
  }

  line(line: BuildLine): void {
    if (line.kind === 'vertex') this.#vertex(line);
    else if (line.kind === 'output') this.#output(line);
    else if (line.kind === 'warning') this.#write(`WARNING: ${line.message}${line.line === undefined ? '' : ` (line ${line.line})`}\n`);
  }

  result(result: BuildResultLine): void {
    this.#write(`${summary(result, this.#now() - this.#startedMs)}\n`);
  }

  close(): void {}

  #vertex(line: BuildLine & { kind: 'vertex' }): void {
    const vertex = this.#vertices.update(line, this.#now());
    this.#flush(line.vertex, vertex);
    this.#turnTo(vertex);
    if (vertex.state === 'cached') this.#write(`#${vertex.number} CACHED\n`);
    else if (vertex.state === 'done') this.#write(`#${vertex.number} DONE ${showDuration(vertex.durationMs ?? 0)}\n`);
    else if (vertex.state === 'cancelled') this.#write(`#${vertex.number} CANCELED\n`);
    else if (vertex.state === 'error') this.#write(`#${vertex.number} ERROR: ${(vertex.error ?? 'failed').split('\n')[0]}\n`);
  }

  #output(line: BuildLine & { kind: 'output' }): void {
    const vertex = this.#vertices.get(line.vertex);
    if (vertex === undefined) return;
    const key = `${line.vertex} ${line.stream}`;
    const splitter = this.#splitters.get(key) ?? new LineSplitter();
    this.#splitters.set(key, splitter);
    this.#print(vertex, splitter.push(Buffer.from(line.data, 'base64')));
  }

  #flush(id: string, vertex: Vertex): void {
    if (vertex.state === 'running') return;
    for (const stream of ['stdout', 'stderr']) {
      const splitter = this.#splitters.get(`${id} ${stream}`);
      if (splitter !== undefined) this.#print(vertex, splitter.end());
    }
  }

  #print(vertex: Vertex, lines: readonly string[]): void {
    if (lines.length === 0) return;
    this.#turnTo(vertex, true);
    const time = ((this.#now() - vertex.startedMs) / 1000).toFixed(3);
    this.#write(lines.map((text) => `#${vertex.number} ${time} ${text}\n`).join(''));
  }

  #turnTo(vertex: Vertex, speaking = false): void {
    if (this.#last === vertex.number) return;
    if (this.#last !== 0) this.#write('\n');
    const known = this.#named.has(vertex.number);
    if (!known) this.#write(`#${vertex.number} ${vertex.name}\n`);
    else if (speaking) this.#write(`#${vertex.number} ${vertex.name} ...\n`);
    this.#named.add(vertex.number);
    this.#last = vertex.number;
  }
}
