import type { Hex } from '../../oci/digest.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import { reachable } from '../graph/reachable.ts';
import type { Graph, Vertex, VertexId } from '../graph/vertex.ts';
import type { BuildEvent } from '../port.ts';
import type { SecretProviders } from '../secrets.ts';
import type { Executors, LimitKind } from './executor.ts';
import { Flights } from './flights.ts';
import { type Semaphore, throwIfAborted } from './limits.ts';
import type { BuildMemory } from './memory.ts';
import { type RemoteResults, type ResultStore, Results, type Solved } from './results.ts';
import { Run } from './run.ts';

export type SolveOptions = {
  /** `kept`: every time stays as it comes, so times count in keys. `adopted`: equal content takes the times of the earlier tree. */
  readonly times: 'kept' | 'adopted';
  /** The tree of a vertex that is not solved: image, context, scratch. Called once for each. */
  readonly given: (vertex: Vertex, signal: AbortSignal) => Promise<TreeRef>;
  readonly explainMissing?: ((vertex: Vertex, path: string) => string | undefined) | undefined;
  readonly providers?: SecretProviders | undefined;
  /** Where results are looked for that are not here. */
  readonly remote?: RemoteResults | undefined;
  /** Keep account of the network traffic of steps that run. */
  readonly recordTraffic?: boolean | undefined;
  readonly lease: Lease;
  readonly signal: AbortSignal;
  readonly onEvent: (event: BuildEvent) => void;
};

export type Solution = {
  readonly output: Solved;
  /** What steps sent and got when they ran, now or before, where that was recorded. Of steps that were not looked at it lies with their results. */
  readonly traffic: ReadonlyMap<VertexId, NonNullable<Solved['traffic']>>;
  /** Steps that had to be had, and how many of them were not run. */
  readonly steps: number;
  readonly cachedSteps: number;
  /** The recipe key of each step, under which its result now lies. */
  readonly recipes: ReadonlyMap<VertexId, Hex>;
  /** The recipe key of each step for hosts that share a cache. */
  readonly exportKeys: ReadonlyMap<VertexId, Hex>;
};

export type SolverParts = {
  readonly leases: Store['leases'];
  readonly results: Results;
  readonly executors: Executors;
  readonly memory: BuildMemory;
  readonly limits: Readonly<Record<LimitKind, Semaphore>>;
  readonly flights: Flights<Solved>;
};

/**
 * Finds or makes the trees of a graph. Each step has two keys for one result: its recipe (operation and its inputs' recipes), which answers
 * without looking at any input, and its content key (operation and what it reads). Nothing is executed when either is known. Failed and
 * cancelled steps leave no entry. One solver serves all builds of an engine: they share steps in flight, limits and memory.
 */
export class Solver {
  readonly #parts: SolverParts;

  constructor(options: Omit<SolverParts, 'leases' | 'results' | 'flights'> & { store: ResultStore & Pick<Store, 'leases'> }) {
    const { store, executors, memory, limits } = options;
    this.#parts = { leases: store.leases, results: new Results(store, memory), executors, memory, limits, flights: new Flights() };
  }

  async solve(graph: Graph, target: VertexId, options: SolveOptions): Promise<Solution> {
    throwIfAborted(options.signal);
    await this.#parts.memory.load();
    const parts = { ...this.#parts, results: this.#parts.results.withRemote(options.remote) };
    return new Run(parts, reachable(graph, target), options).run(target);
  }
}
