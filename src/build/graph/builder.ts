import type { Graph, Operation, Place, Vertex, VertexId } from './vertex.ts';

/** Collects vertices in order; equal sources become one vertex. */
export class GraphBuilder {
  readonly #vertices: Vertex[] = [];
  readonly #sources = new Map<string, VertexId>();

  add(vertex: {
    name: string;
    lineage: string;
    inputs?: readonly VertexId[];
    operation: Operation;
    place?: Place | undefined;
    noCache?: boolean;
    timeoutMs?: number | undefined;
    retries?: number | undefined;
    cacheTtlMs?: number | undefined;
  }): VertexId {
    const inputs = vertex.inputs ?? [];
    const shared = inputs.length === 0 ? JSON.stringify(vertex.operation) : undefined;
    const known = shared === undefined ? undefined : this.#sources.get(shared);
    if (known !== undefined) return known;
    const id = `v${this.#vertices.length}`;
    this.#vertices.push({ ...vertex, id, inputs });
    if (shared !== undefined) this.#sources.set(shared, id);
    return id;
  }

  finish(): Graph {
    return { version: 1, vertices: this.#vertices };
  }
}
