import { closeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { EngineError, errnoOf } from '../base/errors.ts';
import { Timeline } from '../base/timeline.ts';
import { pidfdOpen } from '../kernel/process.ts';
import { bringUp, type Created } from './bring-up.ts';
import { cleanUpLocked } from './clean-up.ts';
import type { Container, Run } from './container.ts';
import type { EngineContext } from './context.ts';
import { updateLinkingHosts } from './etc-files.ts';
import { exitWithoutMonitor, type KnownExit, lastWords } from './exit-record.ts';
import type { ContainerRecord } from './port.ts';
import { bootId, identify } from './processes.ts';
import { restartDelay } from './restart-policy.ts';

/** How often a container whose monitor was killed is looked at. */
const orphanPollMs = 500;

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
  async startLocked(container: Container, timeline = new Timeline()): Promise<void> {
    const { registry } = this.#context;
    container.intent = { action: 'start', atMs: this.#context.now() };
    await registry.save(container);
    try {
      const askedMs = Timeline.now();
      await this.#context.gates.starts.run(() => {
        timeline.add('turn', askedMs);
        return bringUp(this.#context, container, timeline, (created) => this.#commit(container, created));
      });
    } catch (error) {
      await this.#startFailedLocked(container, error);
      throw error;
    }
    container.record.stoppedByUser = false;
    this.#context.emit(container, 'start');
    updateLinkingHosts(this.#context, container.record).catch((error) => this.#context.report(container.id, error));
    container.changed();
  }

  /** From here on a later engine adopts it: before its process is let go. */
  async #commit(container: Container, { pid, monitorPid, stubs, endpoints, ports }: Created): Promise<void> {
    const { record } = container;
    record.stubs = [...new Set([...(record.stubs ?? []), ...stubs])];
    record.endpoints = [...endpoints];
    record.ports = ports;
    record.state = { status: 'running', pid, startedAtMs: this.#context.now(), paused: false };
    container.run = newRun(pid, monitorPid, record.hostConfig.Runtime || this.#context.runtimes.default);
    container.intent = undefined;
    this.watchLocked(container);
    await this.#context.registry.save(container);
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
    await cleanUpLocked(this.#context, container).catch((failure) => this.#context.report(container.id, failure));
    await this.#context.registry.saveIfRoom(container);
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
    const exit = (await lastWords(this.#context, container.id, run)) ?? (await exitWithoutMonitor(container, run, this.#context.now()));
    if (this.#closed) return;
    if (exit) await this.exitedLocked(container, exit);
    else this.#pollOrphan(container, run);
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
  async exitedLocked(container: Container, exit: KnownExit): Promise<void> {
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
    if (exit.oomKilled && !container.oomTold) context.emit(container, 'oom');
    context.emit(container, 'die', { exitCode: String(exit.exitCode) });
    this.#announceExit(container, exit.exitCode, exit.error);
    const saved = await context.registry.saveIfRoom(container);
    const going = delayMs === undefined && (record.hostConfig.AutoRemove ?? false) && !container.keep;
    // With the disk full, the monitor's record in the bundle is the only one of this exit.
    await cleanUpLocked(this.#context, container, { unmount: !going, keepBundle: !saved }).catch((error) =>
      context.report(container.id, error),
    );
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
    container.restartTimer = setTimeout(() => void this.startAgain(container, container.record.restartCount + 1), delayMs);
    container.restartTimer.unref();
  }

  /** Starts what waits for it, unless somebody decided otherwise meanwhile. Never rejects: the state says what went wrong. */
  async startAgain(container: Container, restartCount: number): Promise<void> {
    try {
      await container.exclusive(async () => {
        if (this.#closed || container.record.state.status !== 'restarting') return;
        container.record.restartCount = restartCount;
        await this.startLocked(container);
      });
    } catch (error) {
      this.#context.report(container.id, error);
    }
  }

  /**
   * The container and, when asked, the anonymous volumes that only it used. It must not run. One that cannot be removed whole is dead, and can be tried
   * again; the next engine does.
   */
  async removeLocked(container: Container, options: { volumes: boolean }): Promise<void> {
    const { record } = container;
    clearTimeout(container.restartTimer);
    record.state = { status: 'removing' };
    container.intent = { action: 'remove', atMs: this.#context.now(), volumes: options.volumes };
    container.changed();
    try {
      await this.#takeAway(container, options);
    } catch (error) {
      record.state = { status: 'dead', error: error instanceof Error ? error.message : String(error) };
      container.changed();
      await this.#context.registry.saveIfRoom(container).catch((failure) => this.#context.report(container.id, failure));
      throw error;
    }
    container.removed = true;
    this.#context.emit(container, 'destroy');
    container.changed();
  }

  async #takeAway(container: Container, options: { volumes: boolean }): Promise<void> {
    const context = this.#context;
    const { record, id } = container;
    await context.registry.saveIfRoom(container);
    await context.snapshotter.remove(id);
    await rm(context.paths.bundle(id), { recursive: true, force: true });
    const volumes = options.volumes ? await this.#anonymousVolumes(record) : [];
    for (const name of volumes) {
      await context.volumes.remove(name).catch((error) => {
        if (!(error instanceof EngineError && error.kind === 'Conflict')) context.report(id, error);
      });
    }
    // Last: while the record is there, a later engine can go on.
    await context.registry.delete(container);
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
