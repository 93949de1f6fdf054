import { randomUUID } from 'node:crypto';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import { withPlace } from '../graph/place.ts';
import { reachable } from '../graph/reachable.ts';
import type { Graph, Vertex, VertexId } from '../graph/vertex.ts';
import type { BuildEvent } from '../port.ts';
import type { Executor, Executors, LimitKind, Prepared, SolvedOperation, StepContext } from './executor.ts';
import { Flights } from './flights.ts';
import { contentKey, givenKey, operationKey, originKey, recipeKey, saltedKey } from './keys.ts';
import { cancelled, isCancelled, type Semaphore, throwIfAborted } from './limits.ts';
import type { BuildMemory } from './memory.ts';
import { missReason } from './reasons.ts';

/** A vertex's result. */
export type Solved = {
  readonly tree: TreeRef /** When a tree of this content was first made; undefined for one that was given. */;
  readonly createdAtMs?: number | undefined;
};

export type SolveOptions = {
  /** `source` keeps every time as it comes, so times count in keys; otherwise equal content takes the times of the earlier tree. */
  readonly times: 'kept' | 'adopted';
  /** The tree of a vertex that is not solved: image, context, scratch. Called once for each. */
  readonly given: (vertex: Vertex, signal: AbortSignal) => Promise<TreeRef>;
  readonly explainMissing?: ((vertex: Vertex, path: string) => string | undefined) | undefined;
  readonly lease: Lease;
  readonly signal: AbortSignal;
  readonly onEvent: (event: BuildEvent) => void;
};

export type Solution = {
  readonly output: Solved;
  /** Steps that had to be had, and how many of them were not run. */
  readonly steps: number;
  readonly cachedSteps: number;
  /** The recipe key of each step, under which its result now lies. */
  readonly recipes: ReadonlyMap<VertexId, Hex>;
};

type Holding = { readonly lease: Lease; readonly signal: AbortSignal };
type SolverStore = Pick<Store, 'trees' | 'actions' | 'uses' | 'leases'>;

/**
 * Finds or makes the trees of a graph. Each step has two keys for one result: its recipe (operation and its inputs' recipes), which answers
 * without looking at any input, and its content key (operation and what it reads). Nothing is executed when either is known. Entries of the action
 * cache never change. Failed and cancelled steps leave no entry.
 */
export class Solver {
  readonly store: SolverStore;
  readonly executors: Executors;
  readonly memory: BuildMemory;
  readonly limits: Readonly<Record<LimitKind, Semaphore>>;
  readonly flights = new Flights<Solved>();

  constructor(options: { store: SolverStore; executors: Executors; memory: BuildMemory; limits: Readonly<Record<LimitKind, Semaphore>> }) {
    this.store = options.store;
    this.executors = options.executors;
    this.memory = options.memory;
    this.limits = options.limits;
  }

  async solve(graph: Graph, target: VertexId, options: SolveOptions): Promise<Solution> {
    throwIfAborted(options.signal);
    await this.memory.load();
    return new Run(this, reachable(graph, target), options).run(target);
  }
}

/** One build's way through the graph. */
class Run {
  readonly #solver: Solver;
  readonly #vertices: ReadonlyMap<VertexId, Vertex>;
  readonly #options: SolveOptions;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #solved = new Map<VertexId, Promise<Solved>>();
  readonly #given = new Map<VertexId, Promise<TreeRef>>();
  readonly #recipes = new Map<VertexId, Promise<Hex>>();
  readonly #known = new Map<VertexId, Hex>();
  readonly #executed = new Set<VertexId>();
  /** Vertices that were told to run, and all after them: their recipes say nothing of what they will make. */
  readonly #fresh = new Set<VertexId>();
  readonly #reported = new WeakSet<object>();

  constructor(solver: Solver, vertices: readonly Vertex[], options: SolveOptions) {
    this.#solver = solver;
    this.#vertices = new Map(vertices.map((vertex) => [vertex.id, vertex]));
    for (const vertex of vertices) {
      if (vertex.noCache === true || vertex.inputs.some((input) => this.#fresh.has(input))) this.#fresh.add(vertex.id);
    }
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
  }

  async run(target: VertexId): Promise<Solution> {
    try {
      const output = await this.#solve(target);
      this.#reportUnvisited();
      const steps = [...this.#vertices.values()].filter((vertex) => !isGiven(vertex)).length;
      return { output, steps, cachedSteps: steps - this.#executed.size, recipes: await this.#allRecipes() };
    } catch (error) {
      // One failure ends the build: the others are aborted, and awaited so that nothing goes on behind its back.
      this.#abort.abort();
      await Promise.allSettled([...this.#solved.values(), ...this.#given.values(), ...this.#recipes.values()]);
      throw this.#options.signal.aborted ? cancelled() : error;
    } finally {
      await this.#solver.memory.save();
    }
  }

  /** A step that was not looked at has a recipe too: the known step after it was asked for by it. */
  async #allRecipes(): Promise<Map<VertexId, Hex>> {
    const recipes = new Map<VertexId, Hex>();
    for (const [id, recipe] of this.#recipes) recipes.set(id, await recipe);
    for (const [id, recipe] of this.#known) recipes.set(id, recipe);
    return recipes;
  }

  #vertex(id: VertexId): Vertex {
    const vertex = this.#vertices.get(id);
    if (vertex === undefined) throw new EngineError('Internal', 'GRAPH_INVALID', `vertex ${id} is not in the graph`);
    return vertex;
  }

  #solve(id: VertexId): Promise<Solved> {
    return once(this.#solved, id, async () => {
      const vertex = this.#vertex(id);
      if (isGiven(vertex)) return { tree: await this.#givenTree(vertex) };
      const startedAt = performance.now();
      try {
        return await this.#step(vertex, vertex.operation as SolvedOperation, startedAt);
      } catch (cause) {
        const error = isCancelled(cause) || this.#reported.has(cause as object) ? cause : withPlace(vertex.place, cause);
        this.#reportFailure(vertex, error, startedAt);
        this.#abort.abort();
        throw error;
      }
    });
  }

  /** An error passes through every step that waited for the failed one; only the failed one tells of it. */
  #reportFailure(vertex: Vertex, error: unknown, startedAt: number): void {
    if (isCancelled(error)) {
      if (this.#executed.has(vertex.id)) {
        this.#options.onEvent({
          kind: 'vertex',
          vertex: vertex.id,
          name: vertex.name,
          state: 'cancelled',
          durationMs: performance.now() - startedAt,
        });
      }
      return;
    }
    if (this.#reported.has(error as object)) return;
    if (typeof error === 'object' && error !== null) this.#reported.add(error);
    this.#options.onEvent({
      kind: 'vertex',
      vertex: vertex.id,
      name: vertex.name,
      state: 'error',
      durationMs: performance.now() - startedAt,
      error: error instanceof Error ? error.message : String(error),
    });
  }

  #givenTree(vertex: Vertex): Promise<TreeRef> {
    return once(this.#given, vertex.id, async () => {
      try {
        return await this.#options.given(vertex, this.#signal);
      } catch (error) {
        const shown = isCancelled(error) ? cancelled() : withPlace(vertex.place, error);
        if (typeof shown === 'object' && shown !== null) this.#reported.add(shown);
        throw shown;
      }
    });
  }

  #identity = (tree: TreeRef): string => (this.#options.times === 'kept' ? tree.id : tree.content);

  #recipe(id: VertexId): Promise<Hex> {
    return once(this.#recipes, id, async () => {
      const vertex = this.#vertex(id);
      if (isGiven(vertex)) return givenKey(this.#identity(await this.#givenTree(vertex)));
      const inputs = await Promise.all(vertex.inputs.map((input) => this.#recipe(input)));
      return this.#salted(recipeKey(operationKey(vertex.operation as SolvedOperation), inputs, this.#options.times));
    });
  }

  #salted(key: Hex): Hex {
    return saltedKey(key, this.#solver.memory.salt(key));
  }

  async #step(vertex: Vertex, operation: SolvedOperation, startedAt: number): Promise<Solved> {
    if (!this.#fresh.has(vertex.id)) {
      const recipe = await this.#recipe(vertex.id);
      const hit = await this.#lookUp(recipe);
      if (hit !== undefined) {
        this.#known.set(vertex.id, recipe);
        this.#emitCached(vertex, startedAt, 'nothing before it changed');
        return hit;
      }
    }
    const inputs = await Promise.all(vertex.inputs.map((input) => this.#solve(input)));
    throwIfAborted(this.#signal);
    const context = this.#context(
      vertex,
      inputs.map((input) => input.tree),
    );
    const executor = this.#solver.executors[operation.kind] as Executor<SolvedOperation>;
    const prepared = await executor.prepare(operation, context);
    const plainKey = contentKey(operationKey(operation), prepared.reads, this.#options.times);
    const key = this.#salted(plainKey);
    const hit = vertex.noCache === true ? undefined : await this.#lookUp(key);
    const result = hit ?? (await this.#execute({ vertex, operation, executor, prepared, context, key: plainKey, startedAt }));
    if (hit !== undefined) this.#emitCached(vertex, startedAt, 'what it reads did not change');
    await this.#knowRecipe(vertex, result);
    return result;
  }

  async #lookUp(key: Hex): Promise<Solved | undefined> {
    const { actions, uses } = this.#solver.store;
    const output = await actions.get(key);
    if (output === undefined) return undefined;
    await this.#options.lease.add('tree', output.tree.id);
    await uses.touch('action', key);
    return { tree: output.tree, createdAtMs: createdAtOf(output.detail) };
  }

  /** Lays the result under the step's recipe, as the results of its inputs now lie under theirs. */
  async #knowRecipe(vertex: Vertex, result: Solved): Promise<void> {
    const inputs = await Promise.all(vertex.inputs.map((input) => this.#known.get(input) ?? this.#recipe(input)));
    const recipe = recipeKey(operationKey(vertex.operation as SolvedOperation), inputs, this.#options.times);
    this.#known.set(vertex.id, await this.#put(recipe, result));
  }

  /** Puts a result under a key, or, when another one lies there already, under a new salt of it. Gives the key in force. */
  async #put(plainKey: Hex, result: Solved): Promise<Hex> {
    const { actions } = this.#solver.store;
    const output = { tree: result.tree, detail: { createdAtMs: result.createdAtMs } };
    const key = this.#salted(plainKey);
    const earlier = await actions.get(key);
    if (earlier?.tree.id === result.tree.id) return key;
    if (earlier === undefined) {
      await actions.put(key, output);
      return key;
    }
    const salt = randomUUID();
    const salted = saltedKey(plainKey, salt);
    await actions.put(salted, output);
    this.#solver.memory.setSalt(plainKey, salt);
    return salted;
  }

  async #execute(step: {
    vertex: Vertex;
    operation: SolvedOperation;
    executor: Executor<SolvedOperation>;
    prepared: Prepared;
    context: StepContext;
    key: Hex;
    startedAt: number;
  }): Promise<Solved> {
    const { vertex, operation, executor, prepared, context, key, startedAt } = step;
    const { memory, store, limits, flights } = this.#solver;
    const last = memory.lastRun(vertex.lineage);
    const reason = vertex.noCache === true ? 'it was asked to run again' : missReason(last, operationKey(operation), prepared.reads);
    const emit = (state: 'running' | 'done', more: { durationMs?: number; reason?: string }) =>
      this.#options.onEvent({ kind: 'vertex', vertex: vertex.id, name: vertex.name, state, ...more });

    // A step that must run does not share one that began before it was asked for.
    const flightKey = vertex.noCache === true ? `${key} ${randomUUID()}` : this.#salted(key);
    const result = await flights.join(
      flightKey,
      {
        signal: this.#signal,
        onOutput: (output) => this.#options.onEvent({ kind: 'output', vertex: vertex.id, ...output }),
        claim: (value) => this.#options.lease.add('tree', value.tree.id),
      },
      async ({ signal, publish, onDone }) => {
        const lease = await store.leases.acquire({ purpose: `build step: ${vertex.name.slice(0, 200)}` });
        onDone(() => lease.release());
        return limits[executor.limit].run(signal, async () => {
          // The one who had this key before may have finished since we looked.
          const raced = vertex.noCache === true ? undefined : await store.actions.get(this.#salted(key));
          if (raced !== undefined) return { tree: raced.tree, createdAtMs: createdAtOf(raced.detail) };
          emit('running', { reason });
          this.#executed.add(vertex.id);
          const made = await prepared.execute({ ...context, signal, lease, onOutput: (stream, data) => publish({ stream, data }) });
          throwIfAborted(signal);
          const settled = await this.#settle(executor, made, executor.volatileTimes ? last?.tree : undefined, { lease, signal });
          await this.#put(key, settled);
          return settled;
        });
      },
    );
    const unchanged = last?.tree === result.tree.id;
    if (this.#executed.has(vertex.id)) {
      emit('done', { durationMs: performance.now() - startedAt, reason: unchanged ? 'the result is the same as before' : reason });
    } else this.#emitCached(vertex, startedAt, 'another build ran it');
    memory.remember(vertex.lineage, { operation: operationKey(operation), reads: prepared.reads, tree: result.tree.id });
    return result;
  }

  /**
   * Early cutoff: a tree equal in content to one that exists is that one, times included, so that everything after it is known. Otherwise files that
   * came out as in the step's last run keep that run's times.
   */
  async #settle(executor: Executor<SolvedOperation>, made: TreeRef, last: TreeId | undefined, options: Holding): Promise<Solved> {
    const { trees, actions } = this.#solver.store;
    if (this.#options.times === 'kept' || executor.exactTimes) return { tree: made, createdAtMs: Date.now() };
    const equal = await trees.findByContent(made.content);
    let tree = equal ?? made;
    if (tree.id === made.id && last !== undefined && last !== made.id) tree = await this.#adopt(made, last, options);
    await options.lease.add('tree', tree.id);
    const origin = await actions.get(originKey(tree.content));
    const createdAtMs = createdAtOf(origin?.detail) ?? Date.now();
    if (origin === undefined) await actions.put(originKey(tree.content), { tree, detail: { createdAtMs } });
    return { tree, createdAtMs };
  }

  async #adopt(made: TreeRef, last: TreeId, options: Holding): Promise<TreeRef> {
    try {
      return await this.#solver.store.trees.adopt(made.id, last, options);
    } catch (error) {
      // The earlier tree may have been collected; then there is nothing to take times from.
      if (error instanceof EngineError && error.kind === 'NotFound') return made;
      throw error;
    }
  }

  #context(vertex: Vertex, inputs: readonly TreeRef[]): StepContext {
    const { onEvent, explainMissing, lease } = this.#options;
    const inputVertices = vertex.inputs.map((input) => this.#vertex(input));
    return {
      vertex,
      inputs,
      inputNames: inputVertices.map((input) => input.name),
      identity: this.#identity,
      timesCount: this.#options.times === 'kept',
      signal: this.#signal,
      lease,
      onOutput: (stream, data) => onEvent({ kind: 'output', vertex: vertex.id, stream, data }),
      onWarning: (message, line) => onEvent({ kind: 'warning', message, ...(line === undefined ? {} : { line }) }),
      explainMissing: (input, path) => {
        const from = inputVertices[input];
        return from === undefined ? undefined : explainMissing?.(from, path);
      },
    };
  }

  #emitCached(vertex: Vertex, startedAt: number, reason: string): void {
    const durationMs = performance.now() - startedAt;
    this.#options.onEvent({ kind: 'vertex', vertex: vertex.id, name: vertex.name, state: 'cached', durationMs, reason });
  }

  /** Steps before a known result were not even looked at. */
  #reportUnvisited(): void {
    for (const vertex of this.#vertices.values()) {
      if (this.#solved.has(vertex.id) || isGiven(vertex)) continue;
      this.#options.onEvent({
        kind: 'vertex',
        vertex: vertex.id,
        name: vertex.name,
        state: 'cached',
        durationMs: 0,
        reason: 'a later step is known',
      });
    }
  }
}

function isGiven(vertex: Vertex): boolean {
  const { kind } = vertex.operation;
  return kind === 'image' || kind === 'context' || kind === 'scratch';
}

function createdAtOf(detail: Record<string, unknown> | undefined): number | undefined {
  return typeof detail?.createdAtMs === 'number' ? detail.createdAtMs : undefined;
}

function once<T>(map: Map<VertexId, Promise<T>>, id: VertexId, make: () => Promise<T>): Promise<T> {
  const known = map.get(id);
  if (known !== undefined) return known;
  const made = make();
  map.set(id, made);
  return made;
}
