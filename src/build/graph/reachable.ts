import { EngineError } from '../../base/errors.ts';
import type { Graph, Vertex, VertexId } from './vertex.ts';

/**
 * The vertices that `target` needs, itself last, each after its inputs. Checks the graph on the way, since it may come from elsewhere:
 * throws InvalidArgument `GRAPH_INVALID` for a missing input, a repeated id or a vertex that stands before one of its inputs (so no cycles).
 */
export function reachable(graph: Graph, target: VertexId): Vertex[] {
  const positions = new Map<VertexId, number>();
  for (const [index, vertex] of graph.vertices.entries()) {
    if (positions.has(vertex.id)) throw invalid(`two vertices have the id ${vertex.id}`);
    for (const input of vertex.inputs) {
      if (!positions.has(input)) throw invalid(`vertex ${vertex.id} needs ${input}, which does not stand before it`);
    }
    positions.set(vertex.id, index);
  }
  const start = positions.get(target);
  if (start === undefined) throw invalid(`there is no vertex ${target}`);
  const needed = new Set([target]);
  for (const vertex of graph.vertices.slice(0, start + 1).reverse()) {
    if (needed.has(vertex.id)) for (const input of vertex.inputs) needed.add(input);
  }
  return graph.vertices.filter((vertex) => needed.has(vertex.id));
}

function invalid(message: string): EngineError {
  return new EngineError('InvalidArgument', 'GRAPH_INVALID', `the build graph is not sound: ${message}`);
}
