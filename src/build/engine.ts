import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { EngineError } from '../base/errors.ts';
import { sha256 } from '../oci/digest.ts';
import { formatPlatform, hostPlatform, parsePlatform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import type { StepRunner } from '../runtime/port.ts';
import type { Snapshotter } from '../snapshot/port.ts';
import type { TreeRef } from '../store/model.ts';
import type { ImageRecord, Lease, Store } from '../store/port.ts';
import type { LayerMaker } from '../transport/layers/port.ts';
import type { Archives } from '../transport/port.ts';
import { baseImage } from './base-images.ts';
import type { ContextSource, ContextTree } from './context/build-context.ts';
import { type Definition, readDefinition } from './context/definition.ts';
import { DirectoryContext } from './context/directory-context.ts';
import { contextReferences, readNamedContext } from './context/named-contexts.ts';
import { TreeContextSource } from './context/tree-context.ts';
import { lowerDefinition } from './definition/lower.ts';
import { parseBuildDefinition } from './definition/parse.ts';
import type { Warning } from './dockerfile/checks.ts';
import { type Lowered, lowerDockerfile, warnBeforeFault } from './dockerfile/lower.ts';
import { parseDockerfile } from './dockerfile/parser.ts';
import type { Graph, Vertex, VertexId } from './graph/vertex.ts';
import { stepsOfBuild } from './image-steps.ts';
import type { BuildContext, BuildEvent, Builder, BuildRequest, BuildResult, ImageFetcher } from './port.ts';
import { describeImage } from './result.ts';
import type { Executors } from './solver/executor.ts';
import { Semaphore } from './solver/limits.ts';
import { BuildMemory } from './solver/memory.ts';
import { type Solution, Solver } from './solver/solver.ts';
import { Sources } from './sources/sources.ts';
import { CacheMounts } from './steps/cache-mounts.ts';
import { ClampExecutor } from './steps/clamp.ts';
import { CopyExecutor } from './steps/copy.ts';
import { DifferenceExecutor } from './steps/difference.ts';
import { InlineExecutor } from './steps/inline.ts';
import { MergeExecutor } from './steps/merge.ts';
import { MkdirExecutor } from './steps/mkdir.ts';
import { RunExecutor } from './steps/run.ts';

export type BuildEngineOptions = {
  store: Store;
  snapshotter: Snapshotter;
  steps: StepRunner;
  archives: Pick<Archives, 'untar'>;
  /** Without it, steps of base images are known only where the build kept them. */
  layers?: Pick<LayerMaker, 'stepsOf'> | undefined;
  /** Without one, base images come from the store only. */
  fetcher?: ImageFetcher | undefined;
  /** Processes of build steps at once, over all builds; as many as processors when not given. */
  maxProcesses?: number | undefined;
  /** Where file systems in memory are mounted for steps: secrets, tmpfs. A folder of /run named after the root when not given. */
  memoryDirectory?: string | undefined;
  /** What ADD may download in one file. */
  httpLimitBytes?: number | undefined;
};

type Options = { onEvent: (event: BuildEvent) => void; signal: AbortSignal };
type Build = Options & { request: BuildRequest; lease: Lease; context: ContextSource };

/** Builds Dockerfiles: reads the context, lowers to a graph, solves it, records the image. Concurrent builds share steps. */
export class BuildEngine implements Builder {
  readonly #store: Store;
  readonly #archives: Pick<Archives, 'untar'>;
  readonly #layers: Pick<LayerMaker, 'stepsOf'> | undefined;
  readonly #fetcher: ImageFetcher | undefined;
  readonly #memory: BuildMemory;
  readonly #solver: Solver;
  readonly #runs: RunExecutor;
  readonly #sources: Sources;
  readonly #directory: string;

  constructor(options: BuildEngineOptions) {
    const { store, snapshotter, steps, archives } = options;
    this.#store = store;
    this.#archives = archives;
    this.#layers = options.layers;
    this.#fetcher = options.fetcher;
    this.#directory = join(store.paths.root, 'build');
    this.#memory = new BuildMemory(join(this.#directory, 'memory.json'));
    // Not below the root: what is in it is in memory only.
    const memory = options.memoryDirectory ?? join('/run', `slipway-build-${sha256(store.paths.root).slice(0, 12)}`);
    const caches = new CacheMounts({ directory: join(this.#directory, 'caches'), memory });
    this.#runs = new RunExecutor({ store, snapshotter, steps, caches, memoryDirectory: memory });
    this.#sources = new Sources({ store, archives, directory: join(this.#directory, 'sources'), httpLimitBytes: options.httpLimitBytes });
    const executors: Executors = {
      inline: new InlineExecutor({ store }),
      copy: new CopyExecutor({ store, archives }),
      mkdir: new MkdirExecutor({ store }),
      run: this.#runs,
      clamp: new ClampExecutor({ store }),
      merge: new MergeExecutor({ store }),
      difference: new DifferenceExecutor({ store }),
    };
    const limits = { process: new Semaphore(options.maxProcesses ?? availableParallelism()), files: new Semaphore(4) };
    this.#solver = new Solver({ store, executors, memory: this.#memory, limits });
  }

  /** After an engine's start, once the step runner has recovered: removes what a crash left of builds. */
  async recover(): Promise<void> {
    await this.#runs.recover();
  }

  async build(request: BuildRequest, options: { onEvent: (event: BuildEvent) => void; signal?: AbortSignal }): Promise<BuildResult> {
    const startedAt = performance.now();
    for (const tag of request.tags) parseReference(tag);
    refusePlatform(request.platform);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await this.#memory.load();
    await using lease = await this.#store.leases.acquire({ purpose: 'build' });
    const signal = options.signal ?? new AbortController().signal;
    const context = this.#context(request.context, request, lease, signal);
    const build: Build = { request, lease, context, signal, onEvent: options.onEvent };

    const definition = await readDefinition(request.dockerfile, context);
    const lowered = await this.#lower(definition, build);
    if (request.output.kind === 'check') return this.#checked(lowered, startedAt);
    const epochSeconds = epochOf(request, lowered.sourceDateEpoch);
    const { graph, target } = withClamp(lowered, request, epochSeconds);
    const solution = await this.#solver.solve(graph, target, {
      times: request.timestamps === 'source' ? 'kept' : 'adopted',
      given: (vertex, stop) => this.#given(vertex, lowered, definition, { ...build, signal: stop }),
      explainMissing: (vertex, path) => explainMissing(vertex, path, definition, context),
      providers: request,
      lease,
      signal,
      onEvent: options.onEvent,
    });
    const { config, history } = await describeImage(lowered, solution, { actions: this.#store.actions, epochSeconds });
    const { tree } = solution.output;
    const image =
      request.output.kind === 'image'
        ? await this.#record(request, { config, history, tree, steps: await this.#steps(lowered, solution, build, epochSeconds) })
        : undefined;
    return {
      ...(image === undefined ? {} : { image }),
      tree,
      config,
      vertices: solution.steps,
      cachedVertices: solution.cachedSteps,
      durationMs: performance.now() - startedAt,
    };
  }

  #context(context: BuildContext, request: BuildRequest, lease: Lease, signal: AbortSignal): ContextSource {
    const adopt = request.timestamps !== 'source';
    if (context.kind === 'directory') {
      return new DirectoryContext({ path: context.path, store: this.#store, memory: this.#memory, lease, adopt });
    }
    if (context.kind === 'source') return context.open({ lease, adopt });
    const owner = { uid: 0, gid: 0 };
    const tree =
      context.kind === 'tree'
        ? Promise.resolve(context.tree)
        : this.#archives.untar(context.file, { what: 'the build context', chown: owner, endOptional: true, signal, lease });
    return new TreeContextSource({ tree, store: this.#store, lease, adopt });
  }

  #checked({ config }: Lowered, startedAt: number): BuildResult {
    return { tree: this.#store.trees.empty, config, vertices: 0, cachedVertices: 0, durationMs: performance.now() - startedAt };
  }

  async #lower(definition: Definition, build: Build): Promise<Lowered> {
    const { request, onEvent, signal } = build;
    if (request.frontend === 'definition') return this.#lowerDefinition(definition, build);
    const onWarning = ({ message, line, check }: Warning) =>
      onEvent({ kind: 'warning', message, ...(line === undefined ? {} : { line }), ...(check === undefined ? {} : { check }) });
    const { buildArgs } = request;
    const parsed = parseDockerfile(definition.text, definition.name, (before) => warnBeforeFault(before, { buildArgs, onWarning }));
    const lowered = await lowerDockerfile(parsed, {
      target: request.target,
      buildArgs,
      labels: request.labels,
      noCache: request.noCache,
      networkMode: request.networkMode ?? 'default',
      contexts: contextReferences(request.contexts),
      ignore: definition.ignore,
      onWarning,
      resolveImage: (name) => baseImage(name, { store: this.#store, fetcher: this.#fetcher, request, onEvent, signal }),
    });
    if (lowered.failure !== undefined) throw lowered.failure;
    return lowered;
  }

  #lowerDefinition({ text, name }: Definition, { request, onEvent, signal }: Build): Promise<Lowered> {
    return lowerDefinition(parseBuildDefinition(text, name), name, {
      labels: request.labels,
      noCache: request.noCache,
      networkMode: request.networkMode ?? 'default',
      resolveImage: (reference) => baseImage(reference, { store: this.#store, fetcher: this.#fetcher, request, onEvent, signal }),
    });
  }

  async #given(vertex: Vertex, lowered: Lowered, definition: Definition, build: Build): Promise<TreeRef> {
    const { operation } = vertex;
    if (operation.kind === 'scratch') return this.#store.trees.empty;
    if (operation.kind === 'image') {
      await build.lease.add('tree', operation.tree.id);
      build.onEvent({ kind: 'vertex', vertex: vertex.id, name: vertex.name, state: 'cached', durationMs: 0, reason: 'it is in the store' });
      return operation.tree;
    }
    if (operation.kind === 'http' || operation.kind === 'git')
      return this.#sources.fetch(vertex, operation, { ...build, providers: build.request });
    if (operation.kind !== 'context') throw new EngineError('Internal', 'GRAPH_INVALID', `${vertex.name} is not given`);
    const { request, lease, signal } = build;
    const open = (context: BuildContext) => this.#context(context, request, lease, signal);
    return this.#readContext(vertex, build, async () =>
      operation.name === 'default'
        ? build.context.tree(lowered.contextPaths, { ignore: definition.ignore, signal })
        : readNamedContext(request.contexts?.[operation.name], open, signal),
    );
  }

  async #readContext(vertex: Vertex, build: Build, readTree: () => Promise<ContextTree | undefined>): Promise<TreeRef> {
    const startedAt = performance.now();
    const emit = (state: 'running' | 'done' | 'error', more: { error?: string; detail?: Record<string, number> } = {}) =>
      build.onEvent({
        kind: 'vertex',
        vertex: vertex.id,
        name: `read the ${vertex.name}`,
        state,
        durationMs: performance.now() - startedAt,
        ...more,
      });
    emit('running');
    try {
      const read = await readTree();
      if (read === undefined) throw new EngineError('Internal', 'GRAPH_INVALID', `there is no ${vertex.name}`);
      emit('done', { detail: countsOf(read) });
      return read.tree;
    } catch (error) {
      emit('error', { error: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  #steps(lowered: Lowered, solution: Solution, { request, lease, signal }: Build, epochSeconds: number | undefined) {
    const clampSeconds = request.timestamps === 'epoch' ? (epochSeconds ?? 0) : undefined;
    return stepsOfBuild({ store: this.#store, layers: this.#layers }, lowered, solution, { lease, signal, clampSeconds });
  }

  async #record(request: BuildRequest, made: Parameters<Store['images']['create']>[0]): Promise<ImageRecord> {
    const image = await this.#store.images.create(made);
    for (const tag of request.tags) await this.#store.images.tag(tag, image.id);
    await this.#store.uses.touch('image', image.id);
    return image;
  }
}

function countsOf({ files = 0, bytes = 0, hashedFiles = 0 }: ContextTree): Record<string, number> {
  return { files, bytes, hashedFiles };
}

function refusePlatform(platform: string | undefined): void {
  if (platform === undefined || platform === '') return;
  const wanted = formatPlatform(parsePlatform(platform));
  const host = formatPlatform(hostPlatform());
  if (wanted === host) return;
  throw new EngineError('Unsupported', 'PLATFORM_UNSUPPORTED', `cannot build for ${wanted}: this host builds for ${host} only`, {
    hint: `Leave --platform out or build on a ${wanted} host.`,
  });
}

/** SOURCE_DATE_EPOCH, a build argument or a global ARG; 0 when times are to be fixed and it says nothing. */
function epochOf(request: BuildRequest, text: string | undefined): number | undefined {
  if (text === undefined || text === '') return request.timestamps === 'epoch' ? 0 : undefined;
  if (/^\d{1,11}$/.test(text)) return Number(text);
  throw new EngineError(
    'InvalidArgument',
    'SOURCE_DATE_EPOCH_INVALID',
    `SOURCE_DATE_EPOCH=${text.slice(0, 50)} is not a number of seconds`,
  );
}

function withClamp(lowered: Lowered, request: BuildRequest, epochSeconds: number | undefined): { graph: Graph; target: VertexId } {
  if (request.timestamps !== 'epoch') return lowered;
  const clamp: Vertex = {
    id: 'clamp',
    name: 'set times',
    lineage: 'clamp',
    inputs: [lowered.target],
    operation: { kind: 'clamp', epochSeconds: epochSeconds ?? 0 },
  };
  return { graph: { version: 1, vertices: [...lowered.graph.vertices, clamp] }, target: clamp.id };
}

function explainMissing(vertex: Vertex, path: string, definition: Definition, context: ContextSource): string | undefined {
  if (vertex.operation.kind !== 'context') return undefined;
  if (context.exists(path)) return `The file is there, but ${definition.ignoreFile} leaves it out.`;
  return 'Paths are relative to the build context, and files outside of it cannot be copied.';
}
