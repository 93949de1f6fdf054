import { closeSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, errnoOf } from '../base/errors.ts';
import { unmountIfMounted } from '../kernel/mount.ts';
import { pidfdExitCode, pidfdHasEnded, pidfdOpen } from '../kernel/process.ts';
import type { PortBinding, PortReservation } from '../network/port.ts';
import type { Container, Run } from './container.ts';
import { containerCgroup, type EngineContext, monitorCgroup, runtimeOf } from './context.ts';
import { networkMode, portBindings } from './create/network-mode.ts';
import type { ExitRecord, Launch } from './drivers/conmon.ts';
import type { ContainerRecord } from './port.ts';
import { type AttachedNetwork, prepareBundle } from './prepare.ts';
import { bootId, identify, isAlive } from './processes.ts';
import { restartDelay } from './restart-policy.ts';

/** How often a container whose monitor was killed is looked at. */
const orphanPollMs = 500;
/** How long a monitor may take to end after its container; then it is killed. */
const monitorEndMs = 5_000;

/** Starts and ends of containers. Methods named `…Locked` are called inside the container's `exclusive`. */
export class Lifecycle {
  readonly #context: EngineContext;
  #closed = false;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** Stops looking; containers run on. */
  close(): void {
    this.#closed = true;
    for (const container of this.#context.registry.all()) {
      clearTimeout(container.restartTimer);
      this.#forgetRun(container);
    }
  }

  /** Brings the container to life. When that fails nothing of it stays but its state, which says why. */
  async startLocked(container: Container): Promise<void> {
    const { registry } = this.#context;
    container.intent = { action: 'start', atMs: this.#context.now() };
    await registry.save(container);
    try {
      await this.#bringUp(container);
    } catch (error) {
      await this.#startFailedLocked(container, error);
      throw error;
    }
    container.record.stoppedByUser = false;
    this.#context.emit(container, 'start');
    container.changed();
  }

  async #bringUp(container: Container): Promise<void> {
    const context = this.#context;
    const { record, id } = container;
    const runtime = runtimeOf(context, record.hostConfig.Runtime);
    const bundle = context.paths.bundle(id);
    await rm(bundle, { recursive: true, force: true });
    await Promise.all([mkdir(bundle, { recursive: true, mode: 0o700 }), context.registry.prepareFolder(id)]);
    await using reservation = await this.#reservePorts(record);
    // The monitor takes its first 5 ms of loading while the root is mounted and the network made.
    const launch = context.monitor.launch({
      id,
      bundle,
      runtime,
      terminal: record.config.Tty ?? false,
      stdin: stdinMode(record),
      logPath: context.paths.spool(id),
      keep: reservation.fds,
    });
    try {
      await this.#create(container, launch, [...reservation.bindings]);
    } catch (error) {
      await launch.abort();
      throw error;
    }
    reservation.release();
    for (const connect of [...container.onCreated]) connect();
    await runtime.start(id);
  }

  /** Everything that a created container needs, side by side; then the container itself. */
  async #create(container: Container, launch: Launch, ports: ContainerRecord['ports']): Promise<void> {
    const context = this.#context;
    const { id } = container;
    const [moved, snapshot, network] = await Promise.allSettled([
      context.cgroups.isolate(launch.pid, monitorCgroup(context, id)),
      context.snapshotter.mount(id),
      this.#attachNetwork(container, ports),
    ]);
    for (const result of [snapshot, network, moved]) if (result.status === 'rejected') throw result.reason;
    if (snapshot.status !== 'fulfilled' || network.status !== 'fulfilled') return;
    const prepared = await prepareBundle(context, container, snapshot.value.rootfs, network.value);
    const { pid, monitorPid } = await launch.create();
    const startedAtMs = context.now();
    container.record.stubs = [...new Set([...(container.record.stubs ?? []), ...prepared.stubs])];
    container.record.endpoints = [...network.value.endpoints];
    container.record.ports = ports;
    container.record.state = { status: 'running', pid, startedAtMs, paused: false };
    container.run = newRun(pid, monitorPid, container.record.hostConfig.Runtime || context.runtimes.default);
    container.intent = undefined;
    this.watchLocked(container);
    // Before the process is let go: from here on a later engine adopts it.
    await context.registry.save(container);
  }

  /** A port of a container that has just ended is waited for. */
  async #reservePorts(record: ContainerRecord): Promise<PortReservation> {
    const { networks, registry } = this.#context;
    const wanted = portBindings(record.hostConfig, record.config.ExposedPorts);
    for (;;) {
      try {
        return await networks.reserve(wanted);
      } catch (error) {
        const leaving = registry.all().filter((other) => other.cleaning && sharesPort(other.record.ports, wanted));
        if (leaving.length === 0) throw error;
        await Promise.all(leaving.map(({ cleaning }) => cleaning));
      }
    }
  }

  async #attachNetwork(container: Container, ports: ContainerRecord['ports']): Promise<AttachedNetwork> {
    const { record } = container;
    if (networkMode(record.hostConfig).kind !== 'network' || record.networks.length === 0) return { netns: undefined, endpoints: [] };
    return this.#context.networks.attach(record.id, record.networks, ports, {
      containerName: record.name,
      hostname: record.config.Hostname ?? '',
    });
  }

  async #startFailedLocked(container: Container, error: unknown): Promise<void> {
    const { record } = container;
    const exitCode = (error instanceof EngineError ? error.exitCode : undefined) ?? 125;
    const message = error instanceof Error ? error.message : String(error);
    this.#forgetRun(container);
    container.run = undefined;
    container.intent = undefined;
    record.state =
      record.state.status === 'exited' || record.state.status === 'restarting'
        ? {
            status: 'exited',
            exitCode,
            startedAtMs: record.state.startedAtMs,
            finishedAtMs: this.#context.now(),
            oomKilled: false,
            error: message,
          }
        : { status: 'created', exitCode, error: message };
    await this.cleanUpLocked(container).catch((failure) => this.#context.report(container.id, failure));
    await this.#context.registry.save(container);
    this.#announceExit(container, exitCode, message);
  }

  /** Watches a running container's monitor. Its end is the container's, or has to be looked into. */
  watchLocked(container: Container): void {
    const { run } = container;
    if (!run) return;
    container.pidfd = openPidfd(run.process.pid);
    const watch = this.#context.monitor.watch(this.#context.paths.bundle(container.id));
    container.monitorWatch = watch;
    void watch.ended.then(() => {
      if (this.#closed || container.monitorWatch !== watch) return;
      container.exclusive(() => this.#monitorEnded(container, run)).catch((error) => this.#context.report(container.id, error));
    });
  }

  async #monitorEnded(container: Container, run: Run): Promise<void> {
    if (this.#closed || container.run !== run) return;
    const exit = (await this.#lastWords(container.id, run)) ?? this.#exitWithoutMonitor(container, run);
    if (exit) await this.exitedLocked(container, exit);
    else this.#pollOrphan(container, run);
  }

  /** conmon closes what it inherited, so that ports are free, and then records the exit: that may be a moment away. */
  async #lastWords(id: string, run: Run): Promise<ExitRecord | undefined> {
    const { monitor, paths } = this.#context;
    for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, 50)) {
      const alive = isAlive(run.monitor);
      const exit = await monitor.exit(paths.bundle(id), id);
      if (exit || !alive) return exit;
      await sleep(delayMs);
    }
  }

  /** The monitor was killed. Undefined while the container runs on. */
  #exitWithoutMonitor(container: Container, run: Run): (ExitRecord & { error?: string }) | undefined {
    const { pidfd } = container;
    const ended = pidfd === undefined ? identify(run.process.pid)?.start !== run.process.start : pidfdHasEnded(pidfd);
    if (!ended) return undefined;
    const exitCode = pidfd === undefined ? undefined : pidfdExitCode(pidfd);
    const known = { finishedAtMs: this.#context.now(), oomKilled: false };
    if (exitCode !== undefined) return { ...known, exitCode, error: 'its monitor was killed' };
    return { ...known, exitCode: 255, error: 'its monitor was killed, so its exit status is not known' };
  }

  /** Nothing tells of this process's end any more, so it is looked at. */
  #pollOrphan(container: Container, run: Run): void {
    const timer = setTimeout(() => {
      if (this.#closed || container.run !== run) return;
      container.exclusive(() => this.#monitorEnded(container, run)).catch((error) => this.#context.report(container.id, error));
    }, orphanPollMs);
    timer.unref();
  }

  /** Records the end, tells those who wait, and then cleans up: the answer does not wait for that, a reuse of name and ports does. */
  async exitedLocked(container: Container, exit: ExitRecord & { error?: string }): Promise<void> {
    const context = this.#context;
    const { record } = container;
    if (record.state.status !== 'running') return;
    const { startedAtMs } = record.state;
    const ended = { exitCode: exit.exitCode, startedAtMs, finishedAtMs: exit.finishedAtMs };
    const delayMs = restartDelay(record.hostConfig.RestartPolicy, {
      exitCode: exit.exitCode,
      ranMs: exit.finishedAtMs - startedAtMs,
      restartCount: record.restartCount,
      stoppedByUser: record.stoppedByUser,
      lastDelayMs: container.backoffMs,
    });
    container.backoffMs = delayMs ?? 0;
    record.state =
      delayMs === undefined
        ? { status: 'exited', ...ended, oomKilled: exit.oomKilled, error: exit.error }
        : { status: 'restarting', ...ended };
    record.endpoints = [];
    this.#forgetRun(container);
    if (exit.oomKilled) context.emit(container, 'oom');
    context.emit(container, 'die', { exitCode: String(exit.exitCode) });
    this.#announceExit(container, exit.exitCode, exit.error);
    await context.registry.save(container);
    const going = delayMs === undefined && (record.hostConfig.AutoRemove ?? false) && !container.keep;
    await this.cleanUpLocked(container, { unmount: !going }).catch((error) => context.report(container.id, error));
    container.run = undefined;
    if (delayMs !== undefined) this.scheduleRestart(container, delayMs);
    else if (going) await this.removeLocked(container, { volumes: true });
  }

  #announceExit(container: Container, exitCode: number, error?: string): void {
    container.exits++;
    container.lastExit = { exitCode, error };
    container.changed();
  }

  scheduleRestart(container: Container, delayMs: number): void {
    clearTimeout(container.restartTimer);
    container.restartTimer = setTimeout(() => {
      container
        .exclusive(async () => {
          if (this.#closed || container.record.state.status !== 'restarting') return;
          container.record.restartCount++;
          await this.startLocked(container);
        })
        .catch((error) => this.#context.report(container.id, error));
    }, delayMs);
    container.restartTimer.unref();
  }

  /** Takes away everything but record, root and spool. Safe when half of it is gone; fails with the first failure, after trying all. */
  async cleanUpLocked(container: Container, options: { unmount: boolean } = { unmount: true }): Promise<void> {
    const cleaning = this.#cleanUp(container, options);
    container.cleaning = cleaning.catch(() => undefined);
    try {
      await cleaning;
    } finally {
      container.cleaning = undefined;
      container.record.ports = portBindings(container.record.hostConfig, container.record.config.ExposedPorts);
    }
  }

  async #cleanUp(container: Container, { unmount }: { unmount: boolean }): Promise<void> {
    const context = this.#context;
    const { id, record } = container;
    const bundle = context.paths.bundle(id);
    const results = await Promise.allSettled([this.#removeProcesses(container), context.networks.detach(id)]);
    unmountIfMounted(context.paths.bundle(id, 'shm'));
    results.push(
      ...(await Promise.allSettled([unmount ? context.snapshotter.unmount(id) : undefined, rm(bundle, { recursive: true, force: true })])),
    );
    const failed = results.find((result) => result.status === 'rejected');
    if (failed?.status === 'rejected') throw new Error(`cleaning up after ${record.name}`, { cause: failed.reason });
  }

  async #removeProcesses(container: Container): Promise<void> {
    const context = this.#context;
    const { id, record, run } = container;
    await runtimeOf(context, run?.runtime ?? record.hostConfig.Runtime).delete(id, { force: true });
    await context.cgroups.remove(containerCgroup(context, id));
    await this.#monitorGone(run);
    await context.cgroups.remove(monitorCgroup(context, id));
  }

  /** It still writes to the bundle after it has recorded the exit. */
  async #monitorGone(run: Run | undefined): Promise<void> {
    const deadline = Date.now() + monitorEndMs;
    for (let delayMs = 1; run && isAlive(run.monitor) && Date.now() < deadline; delayMs = Math.min(delayMs * 2, 100)) await sleep(delayMs);
  }

  /** The container and, when asked, the anonymous volumes that only it used. It must not run. */
  async removeLocked(container: Container, options: { volumes: boolean }): Promise<void> {
    const context = this.#context;
    const { record, id } = container;
    clearTimeout(container.restartTimer);
    record.state = { status: 'removing' };
    container.intent = { action: 'remove', atMs: context.now() };
    container.changed();
    await context.registry.save(container);
    await context.snapshotter.remove(id);
    const volumes = options.volumes ? await this.#anonymousVolumes(record) : [];
    await context.registry.delete(container);
    for (const name of volumes) {
      await context.volumes.remove(name).catch((error) => {
        if (!(error instanceof EngineError && error.kind === 'Conflict')) context.report(id, error);
      });
    }
    container.removed = true;
    context.emit(container, 'destroy');
    container.changed();
  }

  async #anonymousVolumes(record: ContainerRecord): Promise<string[]> {
    const names = record.mounts.flatMap(({ type, name }) => (type === 'volume' && name !== undefined ? [name] : []));
    const found = await Promise.all(names.map((name) => this.#context.volumes.get(name).catch(() => undefined)));
    return found.flatMap((volume) => (volume?.anonymous ? [volume.name] : []));
  }

  #forgetRun(container: Container): void {
    container.monitorWatch?.close();
    container.monitorWatch = undefined;
    if (container.pidfd !== undefined) closeSync(container.pidfd);
    container.pidfd = undefined;
  }
}

function newRun(pid: number, monitorPid: number, runtime: string): Run {
  // A process that ended already has no start time; its exit file says the rest.
  return {
    process: identify(pid) ?? { pid, start: '' },
    monitor: identify(monitorPid) ?? { pid: monitorPid, start: '' },
    bootId: bootId(),
    runtime,
  };
}

function openPidfd(pid: number): number | undefined {
  try {
    return pidfdOpen(pid);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return undefined;
    throw error;
  }
}

/** A terminal's stdin must stay open when a client leaves; a pipe's ends with the one client that it was opened for. */
function stdinMode(record: ContainerRecord): 'none' | 'once' | 'open' {
  const { OpenStdin, StdinOnce, Tty } = record.config;
  if (!OpenStdin) return 'none';
  return StdinOnce && !Tty ? 'once' : 'open';
}

function sharesPort(a: readonly PortBinding[], b: readonly PortBinding[]): boolean {
  return a.some((one) => b.some((other) => one.hostPort !== 0 && one.hostPort === other.hostPort && one.protocol === other.protocol));
}
