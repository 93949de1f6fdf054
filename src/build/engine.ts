import { mkdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { AttestationAnswer } from '../api-types/build.ts';
import { EngineError } from '../base/errors.ts';
import { sha256 } from '../oci/digest.ts';
import type { ImageConfig } from '../oci/image.ts';
import { formatPlatform, platformOf } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import type { StepRunner } from '../runtime/port.ts';
import type { Snapshotter } from '../snapshot/port.ts';
import type { TreeRef } from '../store/model.ts';
import type { ImageParts, ImageRecord, Lease, Store } from '../store/port.ts';
import type { TreeCollections } from '../transport/collections/port.ts';
import type { LayerMaker } from '../transport/layers/port.ts';
import type { ImageJoiner } from '../transport/platforms/port.ts';
import type { Archives } from '../transport/port.ts';
import type { Registries } from '../transport/registry/port.ts';
import { Attestor } from './attest/attestor.ts';
import { fileStatements, imageStatements } from './attest/image-statements.ts';
import type { Predicate } from './attest/model.ts';
import type { DigestSet } from './attest/provenance.ts';
import { baseImage } from './base-images.ts';
import { type BuildCache, BuildCaches } from './cache/build-caches.ts';
import { MountFolders } from './cache/mount-folders.ts';
import { CacheMountsService } from './cache/mounts-service.ts';
import type { BuildCacheMounts } from './cache/port.ts';
import type { CachePolicy } from './cache/speed.ts';
import type { ContextPath, ContextSource, ContextTree } from './context/build-context.ts';
import { type Definition, readDefinition } from './context/definition.ts';
import { DirectoryContext } from './context/directory-context.ts';
import { contextReferences, readNamedContext } from './context/named-contexts.ts';
import { TreeContextSource } from './context/tree-context.ts';
import { lowerDefinition } from './definition/lower.ts';
import { parseBuildDefinition } from './definition/parse.ts';
import type { Warning } from './dockerfile/checks.ts';
import { type Lowered, lowerDockerfile, warnBeforeFault } from './dockerfile/lower.ts';
import { parseDockerfile } from './dockerfile/parser.ts';
import { checkEntitled, checkGranted, permittedByDefault } from './entitlements.ts';
import type { Graph, Vertex, VertexId } from './graph/vertex.ts';
import { stepsOfBuild } from './image-steps.ts';
import type { BuildContext, BuildEvent, Builder, BuildRequest, BuildResult, ImageFetcher, PlatformResult } from './port.ts';
import { describeImage } from './result.ts';
import { SecretFingerprints } from './secret-fingerprints.ts';
import type { Executors } from './solver/executor.ts';
import { Semaphore } from './solver/limits.ts';
import { BuildMemory } from './solver/memory.ts';
import { type Solution, Solver } from './solver/solver.ts';
import { Sources } from './sources/sources.ts';
import { stepOptionsOf } from './step-options.ts';
import { CacheMounts } from './steps/cache-mounts.ts';
import { ClampExecutor } from './steps/clamp.ts';
import { CopyExecutor } from './steps/copy.ts';
import { DifferenceExecutor } from './steps/difference.ts';
import { InlineExecutor } from './steps/inline.ts';
import { MergeExecutor } from './steps/merge.ts';
import { MkdirExecutor } from './steps/mkdir.ts';
import { RunExecutor } from './steps/run.ts';
import { allOrNone, labelled, type Target, targetsOf } from './targets.ts';

export type BuildEngineOptions = {
  store: Store;
  snapshotter: Snapshotter;
  steps: StepRunner;
  archives: Pick<Archives, 'untar' | 'exportTree'>;
  /** Without it, no cache is shared with other hosts. */
  sharing?: { collections: TreeCollections; registries: Registries; policy?: CachePolicy } | undefined;
  /** Without it, steps of base images are known only where the build kept them. */
  layers?: Pick<LayerMaker, 'stepsOf'> | undefined;
  /** Without one, base images come from the store only. */
  fetcher?: ImageFetcher | undefined;
  /** Without it, a build makes an image for one platform. */
  joiner?: ImageJoiner | undefined;
  /** Processes of build steps at once, over all builds; as many as processors when not given. */
  maxProcesses?: number | undefined;
  /** Where file systems in memory are mounted for steps: secrets, tmpfs. A folder of /run named after the root when not given. */
  memoryDirectory?: string | undefined;
  /** What builds may be allowed; BuildKit's names. Docker's when not given. */
  entitlements?: readonly string[] | undefined;
  /** What ADD may download in one file. */
  httpLimitBytes?: number | undefined;
};

type Options = { onEvent: (event: BuildEvent) => void; signal: AbortSignal };
/** Contexts that were read, by name: all targets take what the first one asks for. */
type Contexts = Map<string, Promise<TreeRef>>;
type Build = Options & {
  request: BuildRequest;
  lease: Lease;
  context: ContextSource;
  target: Target;
  contexts: Contexts;
  cache: BuildCache | undefined;
};
/** A target's build as data, and what it reads of the context together with the others. */
type Planned = {
  build: Build;
  lowered: Lowered;
  definition: Definition;
  contextPaths: readonly ContextPath[];
  /** What was fetched for it. */
  sources: Map<VertexId, DigestSet>;
};
type Solved = {
  config: ImageConfig;
  tree: TreeRef;
  image: ImageRecord | undefined;
  predicates: Predicate[];
  steps: number;
  cachedSteps: number;
};

/** Builds Dockerfiles: reads the context, lowers to a graph, solves it, records the image. Concurrent builds share steps. */
export class BuildEngine implements Builder {
  readonly #store: Store;
  readonly #archives: Pick<Archives, 'untar'>;
  readonly #layers: Pick<LayerMaker, 'stepsOf'> | undefined;
  readonly #fetcher: ImageFetcher | undefined;
  readonly #joiner: ImageJoiner | undefined;
  readonly #memory: BuildMemory;
  readonly #solver: Solver;
  readonly #runs: RunExecutor;
  readonly #sources: Sources;
  readonly #attestor: Attestor;
  readonly #directory: string;
  readonly #caches: BuildCaches | undefined;
  readonly #mountFolders: MountFolders;
  readonly #entitlements: readonly string[];
  readonly cacheMounts: BuildCacheMounts;

  constructor(options: BuildEngineOptions) {
    const { store, snapshotter, steps, archives, sharing } = options;
    this.#store = store;
    this.#archives = archives;
    this.#layers = options.layers;
    this.#fetcher = options.fetcher;
    this.#joiner = options.joiner;
    this.#entitlements = options.entitlements ?? permittedByDefault;
    this.#directory = join(store.paths.root, 'build');
    this.#memory = new BuildMemory(join(this.#directory, 'memory.json'));
    // Not below the root: what is in it is in memory only.
    const memory = options.memoryDirectory ?? join('/run', `slipway-build-${sha256(store.paths.root).slice(0, 12)}`);
    this.#mountFolders = new MountFolders(join(this.#directory, 'caches'));
    const checkout = (tree: TreeRef, path: string, signal: AbortSignal) => store.trees.checkout(tree.id, path, { signal });
    const caches = new CacheMounts({ folders: this.#mountFolders, memory, checkout });
    const service = new CacheMountsService({ store, archives, mounts: caches });
    this.cacheMounts = service;
    this.#caches = sharing && new BuildCaches({ store, ...sharing, mounts: caches, service });
    const fingerprints = new SecretFingerprints(join(this.#directory, 'secret-key'));
    this.#runs = new RunExecutor({ store, snapshotter, steps, caches, fingerprints, memoryDirectory: memory });
    this.#sources = new Sources({ store, archives, directory: join(this.#directory, 'sources'), httpLimitBytes: options.httpLimitBytes });
    this.#attestor = new Attestor({ store });
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
    await this.#mountFolders.recover();
  }

  async build(request: BuildRequest, options: { onEvent: (event: BuildEvent) => void; signal?: AbortSignal }): Promise<BuildResult> {
    const startedAt = performance.now();
    for (const tag of request.tags) parseReference(tag);
    checkGranted(request, this.#entitlements);
    const targets = targetsOf(request.platform);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await this.#memory.load();
    await using lease = await this.#store.leases.acquire({ purpose: 'build' });
    const signal = options.signal ?? new AbortController().signal;
    const context = this.#context(request.context, request, lease, signal);
    const contexts: Contexts = new Map();
    await using cache = await this.#openCache(request, { lease, signal, onEvent: options.onEvent });
    const builds = targets.map((target): Build => {
      return { request, lease, context, contexts, cache, signal, target, onEvent: labelled(options.onEvent, target.label) };
    });

    const definition = await readDefinition(request.dockerfile, context);
    const lowered = await allOrNone(builds, signal, (build, stop) => this.#lower(definition, { ...build, signal: stop }));
    for (const { graph } of lowered) checkEntitled(graph, request);
    const contextPaths = lowered.flatMap((each) => each.contextPaths);
    const planned = lowered.map(
      (each, index): Planned => ({ build: builds[index] as Build, lowered: each, definition, contextPaths, sources: new Map() }),
    );
    const [first] = planned as [Planned];
    if (request.output.kind === 'check') return this.#checked(first.lowered, startedAt);
    const solved = await allOrNone(planned, signal, (each, stop) => this.#solve({ ...each, build: { ...each.build, signal: stop } }));
    await cache?.export();
    const { image, attestations } = await this.#finish(request, solved, { lease, signal });
    const shown =
      solved.find(({ config }) => image !== undefined && config.architecture === image.config.architecture) ?? (solved[0] as Solved);
    return {
      ...(image === undefined ? {} : { image }),
      ...(attestations.length === 0 ? {} : { attestations }),
      ...(targets.length < 2 ? {} : { platforms: solved.map(platformResult) }),
      tree: shown.tree,
      config: shown.config,
      vertices: solved.reduce((sum, { steps }) => sum + steps, 0),
      cachedVertices: solved.reduce((sum, { cachedSteps }) => sum + cachedSteps, 0),
      durationMs: performance.now() - startedAt,
    };
  }

  /** Builds one target. Its image has no names yet. */
  async #solve(planned: Planned): Promise<Solved> {
    const { build, lowered, definition } = planned;
    const { request, lease, signal, onEvent, context, cache } = build;
    const startedAtMs = Date.now();
    const epochSeconds = epochOf(request, lowered.sourceDateEpoch);
    const { graph, target } = withClamp(lowered, request, epochSeconds);
    const solution = await this.#solver.solve(graph, target, {
      times: request.timestamps === 'source' ? 'kept' : 'adopted',
      given: (vertex, stop) => this.#given(vertex, planned, stop),
      explainMissing: (vertex, path) => explainMissing(vertex, path, definition, context),
      providers: request,
      remote: cache?.remote,
      recordTraffic: request.attestations?.provenance !== undefined,
      lease,
      signal,
      onEvent,
    });
    cache?.add({ graph, target }, solution);
    const { config, history } = await describeImage(lowered, solution, { actions: cache?.told ?? this.#store.actions, epochSeconds });
    const made = { tree: solution.output.tree, config };
    const attested = { request, definition, graph, target, solution, sources: planned.sources, startedAtMs, ...made };
    const predicates = await this.#attestor.describe(attested, build);
    const tree = request.output.kind === 'tree' ? await this.#attestor.beside(made.tree, predicates, build) : made.tree;
    const image =
      request.output.kind === 'image' ? await this.#image({ config, history, tree }, planned, solution, epochSeconds) : undefined;
    return { config, tree, image, predicates, steps: solution.steps, cachedSteps: solution.cachedSteps };
  }

  async #openCache(
    { cacheFrom = [], cacheTo = [], authFor }: BuildRequest,
    around: Pick<Build, 'lease' | 'signal' | 'onEvent'>,
  ): Promise<BuildCache | undefined> {
    if (cacheFrom.length + cacheTo.length === 0) return undefined;
    if (this.#caches !== undefined) return this.#caches.open({ cacheFrom, cacheTo, ...(authFor === undefined ? {} : { authFor }) }, around);
    throw new EngineError('Unsupported', 'CACHE_SHARING_UNSUPPORTED', 'this engine shares no caches with other hosts');
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
    const { request, onEvent, signal, target } = build;
    if (request.frontend === 'definition') return this.#lowerDefinition(definition, build);
    const onWarning = ({ message, line, check }: Warning) =>
      onEvent({ kind: 'warning', message, ...(line === undefined ? {} : { line }), ...(check === undefined ? {} : { check }) });
    const { buildArgs } = request;
    const parsed = parseDockerfile(definition.text, definition.name, (before) => warnBeforeFault(before, { buildArgs, onWarning }));
    const lowered = await lowerDockerfile(parsed, {
      target: request.target,
      buildArgs,
      labels: request.labels,
      ...stepOptionsOf(request),
      networkMode: request.networkMode ?? 'default',
      contexts: contextReferences(request.contexts),
      ignore: definition.ignore,
      onWarning,
      platform: target.platform,
      resolveImage: (name, platform) => baseImage(name, { store: this.#store, fetcher: this.#fetcher, request, onEvent, signal, platform }),
    });
    if (lowered.failure !== undefined) throw lowered.failure;
    return lowered;
  }

  async #lowerDefinition({ text, name }: Definition, { request, onEvent, signal, target: { platform } }: Build): Promise<Lowered> {
    const lowered = await lowerDefinition(parseBuildDefinition(text, name), name, {
      labels: request.labels,
      ...stepOptionsOf(request),
      networkMode: request.networkMode ?? 'default',
      resolveImage: (reference) => baseImage(reference, { store: this.#store, fetcher: this.#fetcher, request, onEvent, signal, platform }),
    });
    for (const { message } of lowered.warnings) onEvent({ kind: 'warning', message });
    return lowered;
  }

  async #given(vertex: Vertex, planned: Planned, stop: AbortSignal): Promise<TreeRef> {
    const { operation } = vertex;
    const build: Build = { ...planned.build, signal: stop };
    if (operation.kind === 'scratch') return this.#store.trees.empty;
    if (operation.kind === 'image') {
      await build.lease.add('tree', operation.tree.id);
      build.onEvent({ kind: 'vertex', vertex: vertex.id, name: vertex.name, state: 'cached', durationMs: 0, reason: 'it is in the store' });
      return operation.tree;
    }
    if (operation.kind === 'http' || operation.kind === 'git')
      return this.#sources.fetch(vertex, operation, {
        ...build,
        providers: build.request,
        onDigest: (digest) => planned.sources.set(vertex.id, digest),
      });
    if (operation.kind !== 'context') throw new EngineError('Internal', 'GRAPH_INVALID', `${vertex.name} is not given`);
    // What several targets read is not cancelled because one of them has no use for it any more.
    const own: Build = planned.build.target.label === undefined ? build : planned.build;
    const read = own.contexts.get(operation.name) ?? this.#contextOf(vertex, operation.name, planned, own);
    own.contexts.set(operation.name, read);
    const tree = await read;
    planned.sources.set(vertex.id, { slipwayContent: tree.content });
    return tree;
  }

  #contextOf(vertex: Vertex, name: string, { contextPaths, definition }: Planned, build: Build): Promise<TreeRef> {
    const { request, lease, signal } = build;
    const open = (context: BuildContext) => this.#context(context, request, lease, signal);
    return this.#readContext(vertex, build, async () =>
      name === 'default'
        ? build.context.tree(contextPaths, { ignore: definition.ignore, signal })
        : readNamedContext(request.contexts?.[name], open, signal),
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

  /** One of several is a part of the image that they make, and none of its own. */
  async #image(
    made: Pick<ImageParts, 'config' | 'history' | 'tree'>,
    { build, lowered }: Planned,
    solution: Solution,
    epochSeconds: number | undefined,
  ) {
    const { images } = this.#store;
    const parts = { ...made, steps: await this.#steps(lowered, solution, build, epochSeconds) };
    return build.target.label === undefined ? images.create(parts) : images.describe(parts);
  }

  /** The image of all targets, under its names. Undefined when only files were asked for. */
  async #finish(
    request: BuildRequest,
    solved: readonly Solved[],
    options: { lease: Lease; signal: AbortSignal },
  ): Promise<{ image?: ImageRecord; attestations: readonly AttestationAnswer[] }> {
    const images = solved.flatMap(({ image }) => image ?? []);
    const [only] = images;
    if (only === undefined) return { attestations: fileStatements(solved) };
    const isPlain = images.length === 1 && solved.every(({ predicates }) => predicates.length === 0);
    if (!isPlain && this.#joiner === undefined)
      throw new EngineError('Unsupported', 'PLATFORM_UNSUPPORTED', 'images of several platforms, and with attestations, are not made here');
    const { statementsOf, told } = imageStatements(solved, request.tags);
    const image = isPlain || this.#joiner === undefined ? only : await this.#joiner.join(images, { ...options, statementsOf });
    for (const tag of request.tags) await this.#store.images.tag(tag, image.id);
    await this.#store.uses.touch('image', image.id);
    return { image, attestations: told };
  }
}

function platformResult({ config, tree, image }: Solved): PlatformResult {
  return { platform: formatPlatform(platformOf(config)), config, tree, ...(image === undefined ? {} : { image }) };
}

function countsOf({ files = 0, bytes = 0, hashedFiles = 0 }: ContextTree): Record<string, number> {
  return { files, bytes, hashedFiles };
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
