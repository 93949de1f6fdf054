import { mkdir, readdir, rm } from 'node:fs/promises';
import { isErrno } from '../base/errors.ts';
import { unmountIfMounted } from '../kernel/mount.ts';
import { cleanUpLocked } from './clean-up.ts';
import type { Container } from './container.ts';
import { containerCgroup, type EngineContext, monitorCgroup, runtimeOf } from './context.ts';
import type { Lifecycle } from './lifecycle.ts';
import { bootId, endBundle, isAlive } from './processes.ts';
import { startsWithEngine } from './restart-policy.ts';

/** Containers looked at side by side, and started: hundreds of starts at once would only wait for each other, and let nobody else in. */
const lookWidth = 16;
const startWidth = 4;

/**
 * After a start of the engine: what runs is adopted, what ended meanwhile is recorded with its own code and time, what a crash left half
 * made is taken away, and what belongs to no container any more goes. Then restart policies apply.
 */
export async function recover(context: EngineContext, lifecycle: Lifecycle): Promise<void> {
  await mkdir(context.paths.bundles, { recursive: true, mode: 0o711 });
  await rm(context.paths.execs, { recursive: true, force: true });
  const { broken } = await context.registry.load();
  for (const id of broken) await forgetBroken(context, id);
  const containers = context.registry.all();
  const toStart: Container[] = [];
  await inParallel(
    containers,
    async (container) => {
      try {
        await container.exclusive(() => recoverLocked(context, lifecycle, container));
        if (!container.removed && shouldStart(container)) toStart.push(container);
      } catch (error) {
        context.report(container.id, error);
      }
    },
    lookWidth,
  );
  await removeLeftovers(context);
  for (const container of toStart) container.record.state = restarting(container);
  // The engine answers meanwhile. Docker's count of restarts begins anew with the engine.
  void inParallel(toStart, (container) => lifecycle.startAgain(container, 0), startWidth);
}

async function recoverLocked(context: EngineContext, lifecycle: Lifecycle, container: Container): Promise<void> {
  const { intent, record } = container;
  if (intent?.action === 'remove' || intent?.action === 'create' || intent?.action === 'run') {
    // Nobody was told of a creation that did not end, or waits for a start that was about to come; a removal was asked for.
    await endBundle(context.paths.bundle(container.id));
    await cleanUpLocked(context, container);
    if (intent.action === 'create') await removeMade(context, record, intent.volumes);
    await lifecycle.removeLocked(container, { volumes: intent.action === 'remove' ? intent.volumes : true });
  } else if (intent?.action === 'start') {
    await endBundle(context.paths.bundle(container.id));
    container.intent = undefined;
    await cleanUpLocked(context, container);
    // As after any start that fails: whoever waited for it has lost the connection, and nobody else would ever remove it.
    if (record.hostConfig.AutoRemove) await lifecycle.removeLocked(container, { volumes: true });
    else await context.registry.save(container);
  } else if (record.state.status === 'running') {
    await adoptLocked(context, lifecycle, container);
  } else if (container.run) {
    // It ended, and the engine did before it had cleaned up.
    container.lastExit = record.state.status === 'exited' ? { exitCode: record.state.exitCode } : undefined;
    await cleanUpLocked(context, container);
    container.run = undefined;
    if (record.state.status === 'exited' && record.hostConfig.AutoRemove) await lifecycle.removeLocked(container, { volumes: true });
    else await context.registry.save(container);
  } else if (record.state.status === 'exited' && record.hostConfig.AutoRemove) {
    await lifecycle.removeLocked(container, { volumes: true });
  }
}

/** Volumes that were being made, however far that came. */
async function removeMade(context: EngineContext, record: Container['record'], volumes: readonly string[]): Promise<void> {
  record.mounts = record.mounts.filter(({ name }) => name === undefined || !volumes.includes(name));
  for (const name of volumes) await context.volumes.remove(name, { force: true });
}

/** A record says that it runs: look. */
async function adoptLocked(context: EngineContext, lifecycle: Lifecycle, container: Container): Promise<void> {
  const { run, id } = container;
  const sameBoot = run?.bootId === bootId();
  const bundle = context.paths.bundle(id);
  const exit = sameBoot ? await context.monitor.exit(bundle, id) : undefined;
  if (exit) return lifecycle.exitedLocked(container, exit);
  if (!run || !sameBoot) return lifecycle.exitedLocked(container, lost(context, 'the host was restarted while it ran'));
  const alive = isAlive(run.process);
  if (!alive && !isAlive(run.monitor)) {
    // The monitor may have written its last word since the first look.
    const late = await context.monitor.exit(bundle, id);
    return lifecycle.exitedLocked(container, late ?? lost(context, 'it ended together with its monitor while no engine was there to see'));
  }
  // A monitor that lives tells of the end; until then it runs as far as anyone can know.
  lifecycle.watchLocked(container);
  const runtime = runtimeOf(context, run.runtime);
  if (alive && (await runtime.isCreated(id))) await runtime.start(id);
}

function lost(context: EngineContext, error: string) {
  return { exitCode: 255, finishedAtMs: context.now(), oomKilled: false, error };
}

async function forgetBroken(context: EngineContext, id: string): Promise<void> {
  if (/^[0-9a-f]{64}$/.test(id)) {
    await context.snapshotter.remove(id).catch((error) => context.report(id, error));
  }
  await rm(context.paths.container(id), { recursive: true, force: true });
}

/** Things by the names of containers that are not there, or do not run. */
async function removeLeftovers(context: EngineContext): Promise<void> {
  const running = new Set(
    context.registry
      .all()
      .filter(({ record }) => record.state.status === 'running')
      .map(({ id }) => id),
  );
  const isContainer = (name: string) => /^[0-9a-f]{64}$/.test(name);
  const stale = (names: readonly string[]) => names.filter((name) => isContainer(name) && !running.has(name));
  const attempt = async (id: string, clean: () => Promise<unknown>) => {
    await clean().catch((error) => context.report(id, error));
  };
  for (const runtime of context.runtimes.all.values()) {
    for (const id of stale(await namesIn(runtime.root))) await attempt(id, () => runtime.delete(id, { force: true }));
  }
  for (const id of stale(await context.networks.attached())) await attempt(id, () => context.networks.detach(id));
  for (const name of await context.cgroups.list(context.cgroupParent)) {
    const id = name.replace(/^mon-/, '');
    if (stale([id]).length > 0)
      await attempt(id, () => context.cgroups.remove(name === id ? containerCgroup(context, id) : monitorCgroup(context, id)));
  }
  for (const id of stale(await namesIn(context.paths.bundles))) {
    for (const name of ['shm', 'userns']) unmountIfMounted(context.paths.bundle(id, name));
    await attempt(id, () => rm(context.paths.bundle(id), { recursive: true, force: true }));
  }
  const known = new Set(context.registry.all().map(({ id }) => id));
  for (const id of await context.snapshotter.list()) {
    if (isContainer(id) && !known.has(id)) await attempt(id, () => context.snapshotter.remove(id));
  }
}

function shouldStart({ record }: Container): boolean {
  const { state, hostConfig, restartCount, stoppedByUser } = record;
  if (state.status === 'restarting') return true;
  return state.status === 'exited' && startsWithEngine(hostConfig.RestartPolicy, { exitCode: state.exitCode, restartCount, stoppedByUser });
}

function restarting({ record: { state } }: Container): Container['record']['state'] {
  if (state.status !== 'exited') return state;
  const { exitCode, startedAtMs, finishedAtMs } = state;
  return { status: 'restarting', exitCode, startedAtMs, finishedAtMs };
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

async function inParallel<T>(items: readonly T[], use: (item: T) => Promise<void>, width: number): Promise<void> {
  const left = [...items];
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await use(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}
