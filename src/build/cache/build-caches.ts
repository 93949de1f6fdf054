import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { formatPlatform, hostPlatform } from '../../oci/platform.ts';
import { parseReference, withDefaultTag } from '../../oci/reference.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { Actions, Lease, Store } from '../../store/port.ts';
import type { TreeCollections } from '../../transport/collections/port.ts';
import type { Registries } from '../../transport/registry/port.ts';
import type { Graph, VertexId } from '../graph/vertex.ts';
import type { BuildEvent, BuildRequest, CacheExport, CacheLocation } from '../port.ts';
import { type RemoteResults, solvedOf } from '../solver/results.ts';
import type { Solution } from '../solver/solver.ts';
import type { CacheMounts } from '../steps/cache-mounts.ts';
import type { CachedMount, CachedResult } from './document.ts';
import { type Exported, exportCache, type ToExport } from './exporter.ts';
import type { MountName } from './mount-folders.ts';
import type { CacheMountsService } from './mounts-service.ts';
import { messageOf, RemoteCache } from './remote-cache.ts';
import { type CachePolicy, defaultPolicy, Speeds } from './speed.ts';
import { FolderTarget } from './targets/folder.ts';
import type { CacheTarget } from './targets/port.ts';
import { RegistryTarget } from './targets/registry.ts';
import { S3Target } from './targets/s3.ts';

export type BuildCachesOptions = {
  readonly store: Store;
  readonly collections: TreeCollections;
  readonly registries: Registries;
  readonly mounts: CacheMounts;
  readonly service: CacheMountsService;
  readonly policy?: CachePolicy | undefined;
  /** For credentials of S3 that a request does not bring; the process's when not given. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
};

type Around = { readonly lease: Lease; readonly signal: AbortSignal; readonly onEvent: (event: BuildEvent) => void };
type Request = Pick<BuildRequest, 'cacheFrom' | 'cacheTo' | 'authFor'>;

/** The caches that builds share with other hosts: docs/formats/build-cache.md. */
export class BuildCaches {
  readonly #options: BuildCachesOptions;
  readonly #speeds = new Speeds();

  constructor(options: BuildCachesOptions) {
    this.#options = options;
  }

  /** What one build reads and writes. InvalidArgument for places that cannot be. Dispose of it while the lease is held. */
  async open(request: Request, around: Around): Promise<BuildCache> {
    const from: CacheTarget[] = [];
    for (const location of request.cacheFrom ?? []) from.push(await this.#target(location, request, 'pull'));
    const to: { target: CacheTarget; wanted: CacheExport }[] = [];
    for (const wanted of request.cacheTo ?? []) to.push({ target: await this.#target(wanted, request, 'pull,push'), wanted });
    const { store, collections, mounts, policy = defaultPolicy } = this.#options;
    const remote = from.length === 0 ? undefined : new RemoteCache(from, { store, collections, speeds: this.#speeds, policy, ...around });
    const offered = remote && mounts.offer(({ id, platform }) => remote.mount(id, platform));
    return new BuildCache({ ...this.#options, ...around, remote, offered, to });
  }

  async #target(location: CacheLocation, { authFor }: Request, actions: 'pull' | 'pull,push'): Promise<CacheTarget> {
    if (location.kind === 'local') return new FolderTarget(location);
    if (location.kind === 's3') return this.#bucket(location);
    const reference = withDefaultTag(parseReference(location.reference));
    const auth = await authFor?.(reference);
    const repository = this.#options.registries.repository(reference, { auth, actions });
    return new RegistryTarget({ repository, tag: reference.tag ?? 'latest' });
  }

  #bucket({
    bucket,
    prefix,
    name = 'slipway',
    region,
    endpoint,
    pathStyle,
    credentials,
  }: Extract<CacheLocation, { kind: 's3' }>): CacheTarget {
    const { env = process.env } = this.#options;
    const found = credentials ?? credentialsOf(env);
    if (found === undefined) {
      throw new EngineError('InvalidArgument', 'CACHE_CREDENTIALS_MISSING', `there are no credentials for the bucket ${bucket}`, {
        hint: 'Give access_key_id and secret_access_key, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
      });
    }
    return new S3Target({ bucket, prefix, name, region: region ?? env.AWS_REGION ?? 'us-east-1', endpoint, pathStyle, credentials: found });
  }
}

function credentialsOf(env: Readonly<Record<string, string | undefined>>) {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: sessionToken } = env;
  return accessKeyId === undefined || secretAccessKey === undefined ? undefined : { accessKeyId, secretAccessKey, sessionToken };
}

type Parts = BuildCachesOptions &
  Around & {
    readonly remote: RemoteCache | undefined;
    readonly offered: Disposable | undefined;
    readonly to: readonly { target: CacheTarget; wanted: CacheExport }[];
  };

type Solved = { readonly graph: Graph; readonly target: VertexId; readonly solution: Solution };

/** The caches of one build. */
export class BuildCache implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #solved: Solved[] = [];

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get remote(): RemoteResults | undefined {
    return this.#parts.remote;
  }

  /** The action cache; for results that were not needed here it says what the remote caches tell, though their trees are not here. */
  get told(): Pick<Actions, 'get'> {
    const { store, remote } = this.#parts;
    return {
      async get(key) {
        const output = await store.actions.get(key);
        if (output !== undefined || remote === undefined) return output;
        const told = await remote.told(key);
        return told && { tree: { id: told.tree, content: '' as Hex }, detail: { createdAtMs: told.createdAtMs } };
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#parts.offered?.[Symbol.dispose]();
    await this.#parts.remote?.[Symbol.asyncDispose]();
  }

  /** What was solved, for `export`: several graphs where a build is for several platforms. */
  add({ graph, target }: { graph: Graph; target: VertexId }, solution: Solution): void {
    this.#solved.push({ graph, target, solution });
  }

  /** Writes the caches that were asked for. A failure is a warning, unless the request says otherwise. */
  async export(): Promise<void> {
    const { to, signal, onEvent } = this.#parts;
    for (const [index, { target: place, wanted }] of to.entries()) {
      const startedAt = performance.now();
      const vertex = `cache-export-${index}`;
      const tell = (state: 'running' | 'done' | 'error', more: Partial<Extract<BuildEvent, { kind: 'vertex' }>> = {}) =>
        onEvent({
          kind: 'vertex',
          vertex,
          name: `write the cache ${place.name}`,
          state,
          durationMs: performance.now() - startedAt,
          ...more,
        });
      tell('running');
      try {
        const { results, changed, uploadedBytes } = await this.#exportTo(place, wanted);
        tell('done', { reason: changed ? `${results} results of steps` : 'it has all of them already', detail: { bytes: uploadedBytes } });
      } catch (error) {
        if (signal.aborted || wanted.ignoreError === false) {
          tell('error', { error: messageOf(error) });
          throw error;
        }
        tell('done', { reason: 'it could not be written' });
        onEvent({ kind: 'warning', message: `the cache ${place.name} was not written: ${messageOf(error)}` });
      }
    }
  }

  async #exportTo(place: CacheTarget, wanted: CacheExport): Promise<Exported> {
    const { store, collections, lease, signal } = this.#parts;
    const nowMs = Date.now();
    const trees = new Map<TreeId, TreeRef>();
    const results: CachedResult[] = [];
    for (const solved of this.#solved) results.push(...(await this.#results(solved, { all: wanted.mode === 'max', trees, nowMs })));
    const mounts = wanted.mounts === false ? [] : await this.#mounts({ trees, nowMs });
    for (const tree of trees.keys()) await lease.add('tree', tree);
    const toExport: ToExport = { results, mounts, trees, anew: this.#parts.remote?.damaged.has(place.name) };
    return exportCache({ store, collections }, place, toExport, { lease, signal });
  }

  /** Results that are here. Costs add up along the longest way to a step: so long a host without any of them would take at least. */
  async #results(
    { graph, target, solution: { recipes, exportKeys } }: Solved,
    { all, trees, nowMs }: { all: boolean; trees: Map<TreeId, TreeRef>; nowMs: number },
  ): Promise<CachedResult[]> {
    const { store, remote } = this.#parts;
    const own = all ? undefined : stageOf(graph, target);
    const totals = new Map<VertexId, number>();
    const results: CachedResult[] = [];
    for (const vertex of graph.vertices) {
      const recipe = exportKeys.get(vertex.id);
      if (recipe === undefined) continue;
      const output = await store.actions.get(recipes.get(vertex.id) ?? recipe);
      const solved = output && solvedOf(output);
      const costMs = solved?.costMs ?? (await remote?.told(recipe))?.costMs;
      const before = Math.max(0, ...vertex.inputs.map((input) => totals.get(input) ?? 0));
      const totalMs = before + (costMs ?? 0);
      totals.set(vertex.id, totalMs);
      if (solved === undefined || own?.has(vertex.id) === false) continue;
      const { tree, createdAtMs, madeAtMs, contentKey } = solved;
      trees.set(tree.id, tree);
      results.push({ recipe, content: contentKey, tree: tree.id, createdAtMs, madeAtMs, costMs, totalMs, usedAtMs: nowMs });
    }
    return results;
  }

  async #mounts({ trees, nowMs }: { trees: Map<TreeId, TreeRef>; nowMs: number }): Promise<CachedMount[]> {
    const { service, mounts, lease, signal, onEvent } = this.#parts;
    const names = new Map<string, MountName>();
    for (const { graph, solution } of this.#solved) {
      for (const { id, operation } of graph.vertices) {
        if (operation.kind !== 'run' || !solution.exportKeys.has(id)) continue;
        const platform = operation.platform ?? formatPlatform(hostPlatform());
        for (const mount of operation.mounts) {
          if (mount.kind === 'cache') names.set(mounts.folders.keyOf({ id: mount.id, platform }), { id: mount.id, platform });
        }
      }
    }
    const captured: CachedMount[] = [];
    for (const [key, { id, platform }] of names) {
      try {
        const tree = await service.capture(key, { lease, signal });
        if (tree === undefined) continue;
        trees.set(tree.id, tree);
        captured.push({ id, platform, tree: tree.id, costMs: (await mounts.folders.record(key))?.costMs ?? 0, usedAtMs: nowMs });
      } catch (error) {
        if (signal.aborted) throw error;
        onEvent({ kind: 'warning', message: `the cache mount ${id} is not in the cache: ${messageOf(error)}` });
      }
    }
    return captured;
  }
}

/** The steps that the target's tree went through, one changing what the one before made. */
function stageOf(graph: Graph, target: VertexId): Set<VertexId> {
  const vertices = new Map(graph.vertices.map((vertex) => [vertex.id, vertex]));
  const stage = new Set<VertexId>();
  for (let vertex = vertices.get(target); vertex !== undefined; vertex = vertices.get(vertex.inputs[0] ?? '')) stage.add(vertex.id);
  return stage;
}
