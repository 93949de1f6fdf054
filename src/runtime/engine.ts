import type { CreateContainerRequest, UpdateRequest } from '../api-types/container.ts';
import { EngineError } from '../base/errors.ts';
import type { Timeline } from '../base/timeline.ts';
import type { LiveSpool } from '../logging/port.ts';
import type { EndpointConfig } from '../network/port.ts';
import { type AttachmentOptions, ContainerAttachment } from './attachment.ts';
import { connectLocked, disconnectLocked } from './connect.ts';
import type { Container } from './container.ts';
import { containerCgroup, type EngineContext } from './context.ts';
import { Control, requireRunning, type StopOptions } from './control.ts';
import { createContainer } from './create/create.ts';
import { networkMode } from './create/network-mode.ts';
import { type ContainerEngineOptions, makeContext } from './engine-options.ts';
import { ExecSessions } from './exec.ts';
import { HealthChecks } from './health.ts';
import { Lifecycle } from './lifecycle.ts';
import { OomWatch } from './oom-watch.ts';
import type { Attachment, ContainerEvent, ContainerRecord, Containers, ExecRecord, RootView, StatsSample, WaitCondition } from './port.ts';
import { openPaths } from './processes.ts';
import { recover } from './recover.ts';
import { noSuchContainer } from './registry.ts';
import { type RemoveOptions, removeContainer } from './removal.ts';
import { renameContainer } from './rename.ts';
import { withContainerRoot } from './root-access.ts';
import { spoolLimits } from './spool-limits.ts';
import { readStats } from './stats.ts';
import { top } from './top.ts';
import { updateLocked } from './update.ts';
import { awaitExit } from './wait.ts';

/**
 * How soon a container that removes itself is started once it has been made. When the engine dies before that, whoever was about to start it has lost the
 * connection, and the next engine removes it; afterwards, and over an orderly end of the engine, it waits.
 */
const startExpectedMs = 60_000;

/**
 * Containers over an OCI runtime and a monitor a container. The state is in one JSON file each (docs/formats/container.md), written before
 * what it announces; processes outlive the engine, and `recover` takes them up again.
 */
export class ContainerEngine implements Containers {
  readonly #context: EngineContext;
  readonly #lifecycle: Lifecycle;
  readonly #control: Control;
  readonly #execs: ExecSessions;
  readonly #health: HealthChecks;
  readonly #oom: OomWatch;

  constructor(options: ContainerEngineOptions) {
    this.#context = makeContext(options, (container, action) => this.#follow(container, action));
    this.#lifecycle = new Lifecycle(this.#context);
    this.#control = new Control(this.#context);
    this.#execs = new ExecSessions(this.#context);
    this.#health = new HealthChecks(this.#context, this.#execs);
    this.#oom = new OomWatch(this.#context);
  }

  async create(request: CreateContainerRequest, options: { name?: string } = {}): Promise<{ record: ContainerRecord; warnings: string[] }> {
    const { container, warnings } = await createContainer(this.#context, request, options.name);
    this.#context.emit(container, 'create');
    if (container.intent?.action === 'run') setTimeout(() => this.#expectNoStart(container), startExpectedMs).unref();
    return { record: container.record, warnings };
  }

  /** It stays until somebody removes or starts it. */
  async #expectNoStart(container: Container): Promise<void> {
    try {
      await container.exclusive(async () => {
        if (container.intent?.action !== 'run' || container.removed) return;
        container.intent = undefined;
        await this.#context.registry.save(container);
      });
    } catch (error) {
      this.#context.report(container.id, error);
    }
  }

  async start(name: string, { timeline }: { timeline?: Timeline | undefined } = {}): Promise<void> {
    const container = this.#find(name);
    await container.exclusive(async () => {
      const { state } = container.record;
      if (container.removed) throw noSuchContainer(container.id);
      if (state.status === 'running' && state.paused)
        throw new EngineError('Conflict', 'CONTAINER_PAUSED', 'cannot start a paused container, try unpause instead');
      if (state.status === 'running' || state.status === 'restarting') throw notModified(container, 'is already running');
      if (container.removal || state.status === 'removing' || state.status === 'dead') throw goingAway();
      clearTimeout(container.restartTimer);
      container.backoffMs = 0;
      container.record.restartCount = 0;
      try {
        await this.#lifecycle.startLocked(container, timeline);
      } catch (error) {
        if (container.record.hostConfig.AutoRemove) await this.#lifecycle.removeLocked(container, { volumes: true });
        throw error;
      }
    });
    this.#context.store.uses.touch('image', container.record.image.id).catch((error) => this.#context.report(container.id, error));
  }

  async stop(name: string, options: StopOptions = {}): Promise<void> {
    const container = this.#find(name);
    if (!(await this.#control.stop(container, options))) throw notModified(container, 'is not running');
    this.#context.emit(container, 'stop');
  }

  async kill(name: string, signal = 'SIGKILL'): Promise<void> {
    await this.#control.kill(this.#find(name), signal);
  }

  async restart(name: string, options: StopOptions = {}): Promise<void> {
    const container = this.#find(name);
    container.keep = true;
    try {
      await this.#control.stop(container, options);
    } finally {
      container.keep = false;
    }
    await this.start(container.id);
    this.#context.emit(container, 'restart');
  }

  async pause(name: string): Promise<void> {
    await this.#control.pause(this.#find(name));
  }

  async unpause(name: string): Promise<void> {
    await this.#control.unpause(this.#find(name));
  }

  async rename(name: string, to: string): Promise<void> {
    await renameContainer(this.#context, this.#find(name), to);
  }

  async update(name: string, request: UpdateRequest): Promise<string[]> {
    const container = this.#find(name);
    const warnings = await container.exclusive(() => updateLocked(this.#context, container, request));
    this.#context.emit(container, 'update');
    return warnings;
  }

  async stats(name: string): Promise<StatsSample | undefined> {
    const container = this.#find(name);
    const { state, hostConfig } = container.record;
    if (state.status !== 'running') return undefined;
    return readStats(this.#context.cgroups, {
      cgroup: containerCgroup(this.#context, container.id),
      networkOf: networkMode(hostConfig).kind === 'host' ? undefined : state.pid,
      nowMs: this.#context.now(),
    });
  }

  async connectNetwork(name: string, endpoint: EndpointConfig): Promise<void> {
    const container = this.#find(name);
    await container.exclusive(() => connectLocked(this.#context, container, endpoint));
  }

  async disconnectNetwork(name: string, network: string, options: { force?: boolean } = {}): Promise<void> {
    const container = this.#find(name);
    await container.exclusive(() => disconnectLocked(this.#context, container, network, options.force ?? false));
  }

  async remove(name: string, options: RemoveOptions = {}): Promise<void> {
    const container = this.#find(name);
    await removeContainer({ context: this.#context, lifecycle: this.#lifecycle, control: this.#control }, container, options);
    this.#execs.forget(container.id);
  }

  async get(name: string): Promise<ContainerRecord> {
    return this.#find(name).record;
  }

  async list(): Promise<ContainerRecord[]> {
    return this.#context.registry
      .all()
      .map(({ record }) => record)
      .sort((a, b) => b.createdAtMs - a.createdAtMs);
  }

  async wait(name: string, condition: WaitCondition = 'not-running', signal?: AbortSignal): Promise<{ exitCode: number; error?: string }> {
    return awaitExit(this.#find(name), condition, signal);
  }

  async attach(name: string, options: AttachmentOptions): Promise<Attachment> {
    const container = this.#find(name);
    const { state } = container.record;
    if (state.status === 'running' && state.paused) {
      throw new EngineError('Conflict', 'CONTAINER_PAUSED', `container ${container.id} is paused, unpause the container before attach`);
    }
    const attachment = new ContainerAttachment(container, this.#context.logs, options, {
      connect: () => this.#context.monitor.openStdin(this.#context.paths.bundle(container.id)),
      onDetach: () => this.#context.emit(container, 'detach'),
    });
    this.#context.emit(container, 'attach');
    return attachment;
  }

  /** Before a start: the size that its terminal begins with. */
  async resize(name: string, size: { rows: number; columns: number }): Promise<void> {
    const container = this.#find(name);
    container.size = size;
    if (container.record.state.status !== 'running') return;
    await this.#context.monitor.resize(this.#context.paths.bundle(container.id), size);
    this.#context.emit(container, 'resize', { height: String(size.rows), width: String(size.columns) });
  }

  async execCreate(name: string, exec: Omit<ExecRecord, 'id' | 'containerId' | 'state'>): Promise<ExecRecord> {
    return this.#execs.create(this.#find(name), exec);
  }

  async execStart(id: string, options: { detach: boolean; size?: { rows: number; columns: number } }): Promise<Attachment | undefined> {
    return this.#execs.start(id, options);
  }

  async execResize(id: string, size: { rows: number; columns: number }): Promise<void> {
    await this.#execs.resize(id, size);
  }

  async execs(name: string): Promise<string[]> {
    return this.#execs.of(this.#find(name).id);
  }

  async execGet(id: string): Promise<ExecRecord> {
    return this.#execs.get(id);
  }

  async top(name: string, psArgs?: string): Promise<{ Titles: string[]; Processes: string[][] }> {
    const container = this.#find(name);
    requireRunning(container, 'top');
    return top(await this.#context.cgroups.processes(containerCgroup(this.#context, container.id)), psArgs);
  }

  async withRootfs<T>(name: string, use: (rootfs: string, view: RootView) => Promise<T>): Promise<T> {
    const container = this.#find(name);
    const { rootfs } = await container.exclusive(async () => {
      if (container.record.state.status === 'removing') throw goingAway();
      return this.#context.snapshotter.mount(container.id);
    });
    return withContainerRoot(this.#context, container, rootfs, use);
  }

  /** Spools that monitors write now, for the rotator. */
  spools(): LiveSpool[] {
    const { registry, paths, monitor } = this.#context;
    return registry.all().flatMap((container) => {
      const { run, id, record } = container;
      if (record.state.status !== 'running' || !run) return [];
      return [
        {
          id,
          directory: paths.log(id),
          ...spoolLimits(record.hostConfig.LogConfig),
          openPaths: () => openPaths(run.monitor.pid),
          reopen: () => monitor.reopenLog(paths.bundle(id)),
        },
      ];
    });
  }

  /** Names of the containers that mount a volume. */
  volumeUsers(volume: string): string[] {
    const mounts = ({ record }: Container) => record.state.status !== 'removing' && record.mounts.some(({ name }) => name === volume);
    return this.#context.registry
      .all()
      .filter(mounts)
      .map(({ id }) => id);
  }

  /** Resolves when the container does not run, or is not there: the end of a log that is followed. */
  async ended(id: string): Promise<void> {
    const container = this.#context.registry.byId(id);
    await container?.waitFor(() => (container.removed || container.record.state.status !== 'running' ? true : undefined));
  }

  async recover(): Promise<void> {
    await recover(this.#context, this.#lifecycle);
    for (const container of this.#context.registry.all()) {
      if (container.record.state.status !== 'running') continue;
      this.#health.resume(container);
      this.#oom.begin(container);
    }
  }

  /** Containers run on. */
  async close(): Promise<void> {
    this.#health.close();
    this.#oom.close();
    this.#execs.close();
    this.#lifecycle.close();
    await Promise.all(
      this.#context.registry.all().map((container) => container.intent?.action === 'run' && this.#expectNoStart(container)),
    );
    await this.#context.cgroups.removeEmpty(this.#context.cgroupParent);
  }

  #follow(container: Container, action: ContainerEvent['action']): void {
    if (action === 'start') this.#oom.begin(container);
    else if (action === 'die') this.#oom.end(container);
    if (action === 'start') this.#health.begin(container);
    else if (action === 'unpause') this.#health.resume(container);
    else if (action === 'pause' || action === 'die') this.#health.suspend(container);
  }

  #find(name: string): Container {
    return this.#context.registry.find(name);
  }
}

function notModified(container: Container, what: string): EngineError {
  return new EngineError('NotModified', 'NOT_MODIFIED', `container ${container.record.name} ${what}`);
}

function goingAway(): EngineError {
  return new EngineError('Conflict', 'CONTAINER_REMOVING', 'container is marked for removal and cannot be started');
}
