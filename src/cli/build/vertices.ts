import type { BuildLine } from '../../api-types/build.ts';

export type VertexState = 'running' | 'cached' | 'done' | 'error' | 'cancelled';
export type Vertex = {
  /** Shown as `#number`: the order in which vertices first appeared. */
  number: number;
  name: string;
  state: VertexState;
  startedMs: number;
  durationMs: number | undefined;
  error: string | undefined;
  reason: string | undefined;
};

/** What a build has told so far. `nowMs` is any clock that does not go back. */
export class Vertices {
  readonly #byId = new Map<string, Vertex>();

  all(): readonly Vertex[] {
    return [...this.#byId.values()];
  }

  update(line: BuildLine & { kind: 'vertex' }, nowMs: number): Vertex {
    const known = this.#byId.get(line.vertex);
    const vertex: Vertex = known ?? {
      number: this.#byId.size + 1,
      name: line.name,
      state: line.state,
      startedMs: nowMs,
      durationMs: undefined,
      error: undefined,
      reason: undefined,
    };
    if (known === undefined) this.#byId.set(line.vertex, vertex);
    vertex.state = line.state;
    vertex.durationMs = line.state === 'running' ? undefined : (line.durationMs ?? nowMs - vertex.startedMs);
    vertex.error = line.error;
    vertex.reason = line.reason;
    return vertex;
  }

  get(id: string): Vertex | undefined {
    return this.#byId.get(id);
  }
}

/** `1.2s`, `12.3s`, `2m05s`. */
export function showDuration(ms: number): string {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)}s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}m${String(seconds % 60).padStart(2, '0')}s`;
}

/** Splits output into lines; a carriage return begins a line anew, as a terminal shows it. Control sequences are taken out. */
export class LineSplitter {
  #rest = '';
  readonly #decoder = new TextDecoder('utf-8');

  push(data: Uint8Array): string[] {
    const lines = (this.#rest + this.#decoder.decode(data, { stream: true })).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.map(cleanLine);
  }

  /** What came after the last newline. */
  end(): string[] {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = '';
    return rest === '' ? [] : [cleanLine(rest)];
  }
}

const controlSequences =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control sequences are what is looked for
  /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])|[\u0000-\u0008\u000b-\u001f\u007f]/g;

function cleanLine(line: string): string {
  const shown = line.replace(/\r+$/, '');
  return shown.slice(shown.lastIndexOf('\r') + 1).replace(controlSequences, '');
}
