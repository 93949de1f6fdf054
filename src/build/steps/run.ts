import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { toBytes, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { whyNotRunnable } from '../../kernel/runnable.ts';
import { hostPlatform, parsePlatform } from '../../oci/platform.ts';
import type { StepRunner, StepService } from '../../runtime/port.ts';
import type { Snapshotter } from '../../snapshot/port.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Store } from '../../store/port.ts';
import { errorAt } from '../graph/place.ts';
import type { RunMount, RunOperation } from '../graph/vertex.ts';
import type { SecretFingerprints } from '../secret-fingerprints.ts';
import type { SecretProviders } from '../secrets.ts';
import type { Executor, Prepared, Read, StepContext } from '../solver/executor.ts';
import type { CacheMounts } from './cache-mounts.ts';
import type { CopyMatch, CopySourcesParams, CopySourcesResult } from './copy-sources.ts';
import { makeDirectories } from './mkdir.ts';
import { memoryWarning, offerTo, stepFailure } from './step-failure.ts';
import { openStepSecrets, removeLeftSecrets, type StepSecrets } from './step-secrets.ts';

type RunStore = Pick<Store, 'trees' | 'jobs' | 'paths'>;
type HostMount = { source: string; destination: string; readOnly: boolean };
type CacheMount = Extract<RunMount, { kind: 'cache' }>;
type BindMount = Extract<RunMount, { kind: 'bind' }>;
/** Begins the ids of the snapshots in which steps run; no container's id begins so. */
const snapshotPrefix = 'build-';

/** A bind mount with the real path of its source inside the input. */
type FoundBind = { readonly mount: BindMount; readonly path: string; readonly digest: string };

/** RUN: a process in a snapshot of its input; the tree is what it leaves. */
export class RunExecutor implements Executor<RunOperation> {
  readonly limit = 'process';
  readonly volatileTimes = true;
  readonly #store: RunStore;
  readonly #snapshotter: Snapshotter;
  readonly #steps: StepRunner;
  readonly #caches: CacheMounts;

  readonly #memoryDirectory: string;
  readonly #fingerprints: SecretFingerprints;

  /** `memoryDirectory`: where secrets and other file systems in memory are mounted while steps run. */
  constructor(options: {
    store: RunStore;
    snapshotter: Snapshotter;
    steps: StepRunner;
    caches: CacheMounts;
    memoryDirectory: string;
    fingerprints: SecretFingerprints;
  }) {
    this.#store = options.store;
    this.#snapshotter = options.snapshotter;
    this.#steps = options.steps;
    this.#caches = options.caches;
    this.#memoryDirectory = options.memoryDirectory;
    this.#fingerprints = options.fingerprints;
  }

  /** Removes the snapshots of steps that a crash cut short. Their processes have ended. */
  async recover(): Promise<void> {
    const left = (await this.#snapshotter.list()).filter((id) => id.startsWith(snapshotPrefix));
    await Promise.all(left.map((id) => this.#snapshotter.remove(id)));
    await removeLeftSecrets(this.#memoryDirectory);
  }

  async prepare(operation: RunOperation, context: StepContext): Promise<Prepared> {
    const [base] = context.inputs as [TreeRef];
    const binds: FoundBind[] = [];
    for (const mount of operation.mounts) if (mount.kind === 'bind') binds.push(await this.#findBind(mount, context));
    const reads: Read[] = [
      { what: 'the root file system', digest: context.identity(base) },
      ...binds.map(({ mount, digest }) => ({ what: `the mount ${mount.target}`, digest })),
      ...(await this.#cacheReads(operation, context)),
      ...(operation.services ?? []).map(({ name, input }) => ({
        what: `the service ${name}`,
        digest: context.identity(context.inputs[input] as TreeRef),
      })),
    ];
    return { reads, execute: (running) => this.#execute(operation, base, binds, running) };
  }

  async #findBind(mount: BindMount, context: StepContext): Promise<FoundBind> {
    const { match, digest } = await this.#look(mount.input, mount.source, context);
    if (match === undefined) {
      const from = context.inputNames[mount.input] ?? 'the source';
      const message = `${mount.source} does not exist in ${from}, so it cannot be mounted`;
      throw errorAt(mount.place ?? context.vertex.place, 'InvalidArgument', 'MOUNT_SOURCE_MISSING', message, {
        hint: context.explainMissing(mount.input, mount.source),
      });
    }
    return { mount, path: toText(match.path), digest };
  }

  /** Only what is mounted counts of an input, not what else it has (docs/adr/0128). */
  async #look(input: number, path: string, context: StepContext): Promise<{ match: CopyMatch | undefined; digest: string }> {
    const params: CopySourcesParams = {
      tree: (context.inputs[input] as TreeRef).id,
      sources: [{ path: toBytes(path), wildcard: false, unpack: false }],
      excludes: [],
      mounted: { times: context.timesCount },
    };
    const { sources } = await this.#store.jobs.run<CopySourcesResult>('build.copySources', params, { signal: context.signal });
    return { match: sources[0]?.matches[0], digest: sources[0]?.digest ?? '' };
  }

  async #cacheReads({ mounts }: RunOperation, context: StepContext): Promise<Read[]> {
    const reads: Read[] = [];
    for (const mount of mounts) {
      if (mount.kind !== 'cache' || mount.from === undefined) continue;
      const { digest } = await this.#look(mount.from.input, mount.from.source, context);
      reads.push({ what: `what the cache ${mount.id} begins with`, digest });
    }
    return reads;
  }

  /** Secrets that the step depends on. */
  async readsOutside({ mounts }: RunOperation, { secrets }: SecretProviders): Promise<Read[]> {
    const ids = mounts.flatMap((mount) => (mount.kind === 'secret' && mount.invalidate === true ? [mount.id] : []));
    return Promise.all(ids.map(async (id) => ({ what: `the secret ${id}`, digest: await this.#fingerprints.of(id, secrets) })));
  }

  async #execute(operation: RunOperation, base: TreeRef, binds: readonly FoundBind[], context: StepContext): Promise<TreeRef> {
    const { signal, lease } = context;
    refuseForeign(operation, context);
    await using cleanup = new AsyncDisposableStack();
    const root = await this.#withWorkingDir(operation, base, context);
    const mounts = await this.#mounts(operation, binds, context, cleanup);
    const secrets = await openStepSecrets(operation, context.providers, this.#memoryDirectory);
    cleanup.defer(() => secrets.close());
    const id = `${snapshotPrefix}${randomUUID()}`;
    cleanup.defer(() => this.#snapshotter.remove(id));
    const snapshot = await this.#snapshotter.create(id, root.id, { signal, lease, disposable: true });
    const services = await this.#services(operation, context, cleanup);
    const { hosts, limits, allowedHosts, devices } = operation;
    const result = await this.#steps.run({
      rootfs: snapshot.rootfs,
      args: [...operation.args],
      env: mergedEnvironment(operation, secrets),
      user: operation.user,
      workingDir: operation.workingDir,
      network: operation.network,
      mounts: [...mounts, ...secrets.mounts],
      hosts,
      limits,
      allowedHosts,
      services,
      insecure: operation.security === 'insecure',
      devices,
      recordTraffic: context.onTraffic !== undefined,
      onFailure: offerTo(context, operation),
      onOutput: context.onOutput,
      signal,
    });
    if (result.traffic !== undefined) context.onTraffic?.(result.traffic);
    if (signal.aborted) throw new EngineError('Cancelled', 'CANCELLED', 'the build was cancelled');
    if (result.exitCode !== 0) throw stepFailure(operation, result, context.vertex.place);
    if (result.memoryKills) context.onWarning(memoryWarning(context.vertex.name, operation), context.vertex.place?.line);
    // Awaited here: the snapshot goes when this function ends.
    return await this.#snapshotter.capture(id, { stubs: result.stubs, signal, lease });
  }

  /** Each in a snapshot of its own, which goes with what it wrote. */
  async #services({ services = [] }: RunOperation, context: StepContext, cleanup: AsyncDisposableStack): Promise<StepService[]> {
    const made: StepService[] = [];
    for (const { input, env, ...service } of services) {
      const root = await this.#withWorkingDir(service, context.inputs[input] as TreeRef, context);
      made.push({ ...service, env: env.map((pair) => pair.join('=')), rootfs: await this.#snapshot(root, context, cleanup) });
    }
    return made;
  }

  /** An image may name a working directory that it does not have. */
  async #withWorkingDir(operation: Pick<RunOperation, 'workingDir'>, base: TreeRef, context: StepContext): Promise<TreeRef> {
    const path = operation.workingDir.replace(/^\/+/, '');
    const { trees } = this.#store;
    if ((await trees.lookup(base.id, toBytes(path), { follow: true })) !== undefined) return base;
    return trees.edit(base.id, makeDirectories(path, { mode: 0o755 }), { signal: context.signal, lease: context.lease });
  }

  async #mounts(
    operation: RunOperation,
    binds: readonly FoundBind[],
    context: StepContext,
    cleanup: AsyncDisposableStack,
  ): Promise<HostMount[]> {
    const caches = await this.#holdCaches(operation, context, cleanup);
    const mounts: HostMount[] = [];
    for (const mount of operation.mounts) {
      if (mount.kind === 'bind') {
        const found = binds.find((bind) => bind.mount === mount);
        if (found !== undefined) mounts.push(await this.#bind(found, context, cleanup));
      } else if (mount.kind === 'cache') {
        mounts.push({ source: caches.get(mount.id) ?? '', destination: mount.target, readOnly: mount.readOnly });
      } else if (mount.kind === 'tmpfs') {
        const scratch = await this.#caches.scratch(mount.sizeBytes);
        cleanup.defer(scratch.release);
        mounts.push({ source: scratch.path, destination: mount.target, readOnly: false });
      }
    }
    return mounts;
  }

  /** Each cache once, and in one order for all steps: two that lock the same ones never wait for each other. */
  async #holdCaches(operation: RunOperation, context: StepContext, cleanup: AsyncDisposableStack): Promise<Map<string, string>> {
    const mounts = new Map(operation.mounts.filter((mount) => mount.kind === 'cache').map((mount) => [mount.id, mount]));
    const paths = new Map<string, string>();
    for (const id of [...mounts.keys()].sort()) {
      const mount = mounts.get(id);
      if (mount === undefined) continue;
      const held = await this.#caches.acquire(mount, context.signal, (path) => this.#fillCache(mount, path, context), operation.platform);
      cleanup.defer(held.release);
      paths.set(id, held.path);
    }
    return paths;
  }

  /** What `from=` names is copied into a cache that is new. */
  async #fillCache(mount: CacheMount, path: string, context: StepContext): Promise<void> {
    if (mount.from === undefined) return;
    const input = context.inputs[mount.from.input] as TreeRef;
    const { trees } = this.#store;
    const { signal, lease } = context;
    const whole = mount.from.source === '/';
    const tree = whole
      ? input
      : await trees.edit(
          trees.empty.id,
          [{ op: 'copy', from: input.id, source: toBytes(mount.from.source.slice(1)), dest: toBytes(''), contents: true }],
          { signal, lease },
        );
    await trees.checkout(tree.id, path, { signal });
  }

  /** The source tree is mounted for the step's time; what is written to it goes with its upper. */
  async #bind({ mount, path }: FoundBind, context: StepContext, cleanup: AsyncDisposableStack): Promise<HostMount> {
    const rootfs = await this.#snapshot(context.inputs[mount.input] as TreeRef, context, cleanup);
    return { source: join(rootfs, path), destination: mount.target, readOnly: mount.readOnly };
  }

  /** A tree with a writable upper that is thrown away; its path on the host. */
  async #snapshot({ id: tree }: TreeRef, { signal, lease }: StepContext, cleanup: AsyncDisposableStack): Promise<string> {
    const id = `${snapshotPrefix}${randomUUID()}`;
    cleanup.defer(() => this.#snapshotter.remove(id));
    return (await this.#snapshotter.create(id, tree, { signal, lease, disposable: true })).rootfs;
  }
}

/** What comes from a secret wins over the Dockerfile's own variables. */
function mergedEnvironment(operation: RunOperation, secrets: StepSecrets): string[] {
  const values = new Map([...operation.unkeyedEnv, ...operation.env, ...secrets.env]);
  return [...values].map((pair) => pair.join('='));
}

function refuseForeign({ platform }: RunOperation, { vertex }: StepContext): void {
  const why = platform === undefined ? undefined : whyNotRunnable(parsePlatform(platform), hostPlatform(), { what: 'this step' });
  if (why === undefined) return;
  const hint = `${why.hint} Or do it in a stage of this host: FROM --platform=$BUILDPLATFORM.`;
  throw errorAt(vertex.place, 'Unsupported', 'PLATFORM_NOT_RUNNABLE', why.message, { hint });
}
