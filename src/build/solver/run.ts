import { randomUUID } from 'node:crypto';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeRef } from '../../store/model.ts';
import { withPlace } from '../graph/place.ts';
import type { Vertex, VertexId } from '../graph/vertex.ts';
import { withinLimits } from './attempts.ts';
import type { Executor, Prepared, Read, SolvedOperation, StepContext } from './executor.ts';
import type { FlightContext } from './flights.ts';
import { contentKey, givenKey, operationKey, recipeKey } from './keys.ts';
import { cancelled, isCancelled, throwIfAborted } from './limits.ts';
import { missReason } from './reasons.ts';
import { Reporter } from './reporter.ts';
import type { Solved } from './results.ts';
import type { Solution, SolveOptions, SolverParts } from './solver.ts';

/** A step whose inputs are there and whose result is not known. */
type Pending = {
  readonly vertex: Vertex;
  readonly operation: Hex;
  readonly executor: Executor<SolvedOperation>;
  readonly prepared: Prepared;
  readonly context: StepContext;
  readonly key: Hex;
};

/** One build's way through a graph. */
export class Run {
  readonly #parts: SolverParts;
  readonly #options: SolveOptions;
  readonly #vertices: ReadonlyMap<VertexId, Vertex>;
  readonly #reporter: Reporter;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #solved = new Map<VertexId, Promise<Solved>>();
  readonly #given = new Map<VertexId, Promise<TreeRef>>();
  readonly #recipes = new Map<VertexId, Promise<Hex>>();
  /** Recipe keys under which results lie after this run. */
  readonly #known = new Map<VertexId, Hex>();
  readonly #executed = new Set<VertexId>();
  /** Whether a vertex was told to run or is too old, or one before it is: then its recipe says nothing of what it will make. */
  readonly #stale = new Map<VertexId, Promise<boolean>>();
  /** Those for which that is a question at all. */
  readonly #doubtful = new Set<VertexId>();
  readonly #outside = new Map<VertexId, Promise<readonly Read[]>>();
  readonly #startedAtMs = Date.now();

  constructor(parts: SolverParts, vertices: readonly Vertex[], options: SolveOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#vertices = new Map(vertices.map((vertex) => [vertex.id, vertex]));
    for (const { id, noCache, cacheTtlMs, inputs } of vertices) {
      if (noCache === true || cacheTtlMs !== undefined || inputs.some((input) => this.#doubtful.has(input))) this.#doubtful.add(id);
    }
    this.#reporter = new Reporter(options.onEvent);
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
  }

  async run(target: VertexId): Promise<Solution> {
    let output: Solved;
    try {
      output = await this.#solve(target);
    } catch (error) {
      this.#abort.abort();
      await this.#settled();
      // What was remembered of steps that succeeded is worth keeping, but not worth hiding the error for.
      await this.#parts.memory.save().catch(() => undefined);
      throw this.#options.signal.aborted ? cancelled() : error;
    }
    await this.#parts.memory.save();
    const steps = [...this.#vertices.values()].filter((vertex) => !isGiven(vertex));
    // Steps before a known result were not even looked at.
    for (const vertex of steps) if (!this.#solved.has(vertex.id)) this.#reporter.done(vertex, 'cached', 'a later step is known');
    return {
      output,
      traffic: await this.#traffic(),
      steps: steps.length,
      cachedSteps: steps.length - this.#executed.size,
      recipes: await this.#allRecipes(),
      exportKeys: await this.#exportKeys(steps),
    };
  }

  async #traffic(): Promise<Solution['traffic']> {
    const traffic = new Map<VertexId, NonNullable<Solved['traffic']>>();
    for (const [id, solved] of this.#solved) {
      const told = (await solved).traffic;
      if (told !== undefined) traffic.set(id, told);
    }
    return traffic;
  }

  /** One failure ends the build: the others are aborted, and awaited so that nothing goes on behind its back. */
  async #settled(): Promise<void> {
    const promises = () => [
      ...this.#solved.values(),
      ...this.#given.values(),
      ...this.#recipes.values(),
      ...this.#stale.values(),
      ...this.#outside.values(),
    ];
    for (let awaited = -1; awaited !== promises().length; ) {
      awaited = promises().length;
      await Promise.allSettled(promises());
    }
  }

  /** A step that was not looked at has a recipe too: the known step after it was asked for by it. */
  async #allRecipes(): Promise<Map<VertexId, Hex>> {
    const recipes = new Map<VertexId, Hex>();
    for (const [id, recipe] of this.#recipes) recipes.set(id, await recipe);
    for (const [id, recipe] of this.#known) recipes.set(id, recipe);
    return recipes;
  }

  /** Recipes as another host computes them, which knows nothing of what was refreshed here. In the order of the graph, inputs first. */
  async #exportKeys(steps: readonly Vertex[]): Promise<Map<VertexId, Hex>> {
    const keys = new Map<VertexId, Hex>();
    for (const vertex of steps) {
      const inputs: Hex[] = [];
      for (const input of vertex.inputs) inputs.push(keys.get(input) ?? (await this.#recipe(input)));
      keys.set(vertex.id, await this.#recipeOf(vertex, inputs));
    }
    return keys;
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
      this.#reporter.begin(vertex);
      try {
        return await this.#step(vertex, vertex.operation as SolvedOperation);
      } catch (cause) {
        const error = isCancelled(cause) || this.#reporter.isTold(cause) ? cause : withPlace(vertex.place, cause);
        this.#reporter.failure(vertex, error);
        this.#abort.abort();
        throw error;
      }
    });
  }

  #givenTree(vertex: Vertex): Promise<TreeRef> {
    return once(this.#given, vertex.id, async () => {
      try {
        return await this.#options.given(vertex, this.#signal);
      } catch (error) {
        const shown = isCancelled(error) ? cancelled() : withPlace(vertex.place, error);
        this.#reporter.tell(shown);
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
      return this.#parts.results.inForce(await this.#recipeOf(vertex, inputs));
    });
  }

  async #recipeOf(vertex: Vertex, inputs: readonly Hex[]): Promise<Hex> {
    return recipeKey(operationKey(vertex.operation as SolvedOperation), inputs, this.#options.times, await this.#readsOutside(vertex));
  }

  #readsOutside(vertex: Vertex): Promise<readonly Read[]> {
    return once(this.#outside, vertex.id, async () => {
      const executor = this.#executor(vertex);
      return (await executor.readsOutside?.(vertex.operation as SolvedOperation, this.#options.providers ?? {})) ?? [];
    });
  }

  #executor(vertex: Vertex): Executor<SolvedOperation> {
    return this.#parts.executors[vertex.operation.kind as SolvedOperation['kind']] as Executor<SolvedOperation>;
  }

  #isStale(id: VertexId): Promise<boolean> {
    return once(this.#stale, id, async () => {
      if (!this.#doubtful.has(id)) return false;
      const vertex = this.#vertex(id);
      if (vertex.noCache === true) return true;
      for (const input of vertex.inputs) if (await this.#isStale(input)) return true;
      if (vertex.cacheTtlMs === undefined) return false;
      const known = await this.#parts.results.get(await this.#recipe(id), this.#options.lease);
      return known === undefined || this.#isTooOld(vertex, known);
    });
  }

  /** One whose age nobody knows is too old. */
  #isTooOld({ cacheTtlMs }: Vertex, { madeAtMs }: Solved): boolean {
    return cacheTtlMs !== undefined && (madeAtMs === undefined || this.#startedAtMs - madeAtMs > cacheTtlMs);
  }

  async #step(vertex: Vertex, operation: SolvedOperation): Promise<Solved> {
    const known = (await this.#isStale(vertex.id)) ? undefined : await this.#byRecipe(vertex);
    if (known !== undefined) return known;
    const inputs = await Promise.all(vertex.inputs.map((input) => this.#solve(input)));
    throwIfAborted(this.#signal);
    this.#reporter.begin(vertex);
    const trees = inputs.map((input) => input.tree);
    const context = this.#context(vertex, trees);
    const executor = this.#executor(vertex);
    const inside = await executor.prepare(operation, context);
    const prepared = { ...inside, reads: [...inside.reads, ...(await this.#readsOutside(vertex))] };
    const own = operationKey(operation);
    const key = contentKey(own, prepared.reads, this.#options.times);
    const result =
      (await this.#byContent(vertex, key)) ?? (await this.#execute({ vertex, operation: own, executor, prepared, context, key }));
    // The result now lies under the step's recipe too, as those of its inputs lie under theirs.
    const recipes = await Promise.all(vertex.inputs.map((input) => this.#known.get(input) ?? this.#recipe(input)));
    this.#known.set(vertex.id, await this.#parts.results.put(await this.#recipeOf(vertex, recipes), { ...result, contentKey: key }));
    return result;
  }

  async #byRecipe(vertex: Vertex): Promise<Solved | undefined> {
    const recipe = await this.#recipe(vertex.id);
    const hit = await this.#parts.results.get(recipe, this.#options.lease);
    if (hit === undefined) return undefined;
    this.#known.set(vertex.id, recipe);
    this.#reporter.done(vertex, 'cached', 'nothing before it changed');
    return hit;
  }

  async #byContent(vertex: Vertex, key: Hex): Promise<Solved | undefined> {
    if (vertex.noCache === true) return undefined;
    const hit = await this.#parts.results.get(this.#parts.results.inForce(key), this.#options.lease);
    if (hit === undefined || this.#isTooOld(vertex, hit)) return undefined;
    this.#reporter.done(vertex, 'cached', 'what it reads did not change');
    return hit;
  }

  async #execute(pending: Pending): Promise<Solved> {
    const { vertex, operation, prepared, key } = pending;
    const { memory, flights, results } = this.#parts;
    const last = memory.lastRun(vertex.lineage);
    const reason = vertex.noCache === true ? 'it was asked to run again' : await this.#missReason(pending);
    // A step that must run does not share one that began before it was asked for, nor one that may end with a result that is too old for it; one that is debugged holds up nobody else.
    const alone = vertex.noCache === true || this.#options.providers?.debug !== undefined;
    const flight = alone ? `${key} ${randomUUID()}` : [results.inForce(key), vertex.cacheTtlMs ?? ''].join(' ');
    const result = await flights.join(
      flight,
      {
        signal: this.#signal,
        onMessage: (message) =>
          message.kind === 'started' ? this.#reporter.running(vertex, reason) : this.#reporter.output(vertex, message.stream, message.data),
        claim: (value) => this.#options.lease.add('tree', value.tree.id),
      },
      (context) => this.#fly(pending, context),
    );
    if (!this.#executed.has(vertex.id)) this.#reporter.done(vertex, 'cached', 'it was running already');
    else this.#reporter.done(vertex, 'done', last?.tree === result.tree.id ? 'the result is the same as before' : reason);
    memory.remember(vertex.lineage, { operation, reads: prepared.reads, tree: result.tree.id });
    return result;
  }

  async #missReason({ vertex, operation, prepared, key }: Pending): Promise<string> {
    const { memory, results } = this.#parts;
    const known = vertex.cacheTtlMs === undefined ? undefined : await results.get(results.inForce(key), this.#options.lease);
    return known === undefined
      ? missReason(memory.lastRun(vertex.lineage), operation, prepared.reads)
      : 'its result is older than its cache TTL';
  }

  /** The run itself, for all who wait for it. It outlives this build when another one waits too, so it holds what it needs by a lease of its own. */
  async #fly({ vertex, executor, prepared, context, key }: Pending, flight: FlightContext): Promise<Solved> {
    const { leases, limits, results, memory } = this.#parts;
    const { signal } = flight;
    const lease = await leases.acquire({ purpose: `build step: ${vertex.name.slice(0, 200)}` });
    flight.onDone(() => lease.release());
    for (const input of context.inputs) await lease.add('tree', input.id);
    return limits[executor.limit].run(signal, async (leave) => {
      // The one who had this key before may have finished since we looked.
      const raced = vertex.noCache === true ? undefined : await results.get(results.inForce(key), lease);
      if (raced !== undefined && !this.#isTooOld(vertex, raced)) return raced;
      this.#executed.add(vertex.id);
      flight.publish({ kind: 'started' });
      const onOutput = (stream: 'stdout' | 'stderr', data: Buffer) => flight.publish({ kind: 'output', stream, data });
      let traffic: Solved['traffic'];
      const keep = (told: Solved['traffic']) => {
        traffic = told;
      };
      const onTraffic = this.#options.recordTraffic === true ? keep : undefined;
      const startedAt = performance.now();
      const made = await withinLimits(vertex, signal, onOutput, (stop, { isLast, stopClock }) => {
        const leavePlace = () => {
          leave();
          stopClock();
        };
        const debug = isLast ? context.providers.debug : undefined;
        return prepared.execute({ ...context, signal: stop, lease, onOutput, onTraffic, leavePlace, debug });
      });
      throwIfAborted(signal);
      const last = executor.volatileTimes ? memory.lastRun(vertex.lineage)?.tree : undefined;
      const exact = this.#options.times === 'kept' || executor.exactTimes === true;
      const settled = exact ? { tree: made, createdAtMs: Date.now() } : await results.settle(made, last, { lease, signal });
      const result = { ...settled, madeAtMs: Date.now(), costMs: Math.round(performance.now() - startedAt), traffic };
      await results.put(key, result);
      return result;
    });
  }

  #context(vertex: Vertex, inputs: readonly TreeRef[]): StepContext {
    const { explainMissing, lease, providers = {} } = this.#options;
    const inputVertices = vertex.inputs.map((input) => this.#vertex(input));
    return {
      vertex,
      inputs,
      inputNames: inputVertices.map((input) => input.name),
      identity: this.#identity,
      timesCount: this.#options.times === 'kept',
      signal: this.#signal,
      lease,
      onOutput: (stream, data) => this.#reporter.output(vertex, stream, data),
      onWarning: (message, line) => this.#reporter.warning(message, line),
      providers,
      explainMissing: (input, path) => {
        const from = inputVertices[input];
        return from === undefined ? undefined : explainMissing?.(from, path);
      },
    };
  }
}

function isGiven(vertex: Vertex): boolean {
  const { kind } = vertex.operation;
  return kind === 'image' || kind === 'context' || kind === 'scratch' || kind === 'http' || kind === 'git';
}

function once<T>(map: Map<VertexId, Promise<T>>, id: VertexId, make: () => Promise<T>): Promise<T> {
  const known = map.get(id);
  if (known !== undefined) return known;
  const made = make();
  map.set(id, made);
  return made;
}
