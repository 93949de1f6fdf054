import { EngineError, isErrno } from '../base/errors.ts';
import { killProcess, pidfdSendSignal } from '../kernel/process.ts';
import type { Container } from './container.ts';
import { type EngineContext, runtimeOf } from './context.ts';
import { isAlive } from './processes.ts';
import { parseSignal, SIGKILL } from './signals.ts';

export type StopOptions = { timeoutSeconds?: number; signal?: string };

const defaultStopTimeoutSeconds = 10;
/** How long SIGKILL may take before it is called a failure. */
const killTimeoutMs = 15_000;

/** Signals to running containers, and their freezing. */
export class Control {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** False when it did not run. Resolves when it has ended and its ports, mounts and name (if it removes itself) are free. */
  async stop(container: Container, options: StopOptions): Promise<boolean> {
    const { config } = container.record;
    const signal = parseSignal(options.signal || config.StopSignal || 'SIGTERM');
    const timeoutSeconds = options.timeoutSeconds ?? config.StopTimeout ?? defaultStopTimeoutSeconds;
    const before = container.exits;
    const ended = () => container.exits > before || container.removed || undefined;
    const ran = await container.exclusive(() => this.#stopLocked(container, signal));
    if (!ran || container.record.state.status === 'exited') return ran;
    if (timeoutSeconds < 0) await container.waitFor(ended);
    else if (!(await within(timeoutSeconds * 1000, container.waitFor(ended)))) await this.#killAndWait(container, ended);
    // The end was announced before it was cleaned up after.
    await container.exclusive(async () => undefined);
    return true;
  }

  async #stopLocked(container: Container, signal: number): Promise<boolean> {
    const { status } = container.record.state;
    if (status !== 'running' && status !== 'restarting') return false;
    container.record.stoppedByUser = true;
    if (status === 'restarting') {
      await this.#cancelRestartLocked(container);
      return true;
    }
    await this.#context.registry.saveIfRoom(container);
    await this.#signalLocked(container, signal);
    this.#told(container, signal);
    return true;
  }

  #told(container: Container, signal: number): void {
    this.#context.emit(container, 'kill', { signal: String(signal) });
  }

  async #killAndWait(container: Container, ended: () => true | undefined): Promise<void> {
    await container.exclusive(async () => {
      if (container.record.state.status !== 'running') return;
      await this.#signalLocked(container, SIGKILL);
      this.#told(container, SIGKILL);
    });
    await this.#killed(container, ended);
  }

  async #killed(container: Container, ended: () => true | undefined): Promise<void> {
    if (await within(killTimeoutMs, container.waitFor(ended))) return;
    throw new EngineError(
      'Internal',
      'KILL_TIMEOUT',
      `container ${container.record.name} did not end within ${killTimeoutMs / 1000} s of SIGKILL`,
      {
        hint: 'A process of it waits in the kernel, for a disk or network that does not answer.',
      },
    );
  }

  /** Any signal. One that is meant to end it also ends its restarting. After SIGKILL it resolves when the container has ended. */
  async kill(container: Container, signal: string): Promise<void> {
    const number = parseSignal(signal);
    const before = container.exits;
    const ends = number === SIGKILL || number === parseSignal(container.record.config.StopSignal || 'SIGTERM');
    const ended = () => container.exits > before || container.removed || container.record.state.status === 'exited' || undefined;
    await container.exclusive(async () => {
      if (container.record.state.status === 'restarting') {
        container.record.stoppedByUser = true;
        await this.#cancelRestartLocked(container);
        return;
      }
      requireRunning(container, 'kill container');
      if (ends) {
        container.record.stoppedByUser = true;
        await this.#context.registry.saveIfRoom(container);
      }
      await this.#signalLocked(container, number);
    });
    this.#told(container, number);
    if (number === SIGKILL) await this.#killed(container, ended);
  }

  /** To the container's first process. A frozen one gets it once thawed, which for signals that end it is now. */
  async #signalLocked(container: Container, signal: number): Promise<void> {
    const { state } = container.record;
    if (state.status !== 'running') return;
    try {
      if (container.pidfd !== undefined) pidfdSendSignal(container.pidfd, signal);
      else if (container.run) killProcess(container.run.process.pid, signal);
    } catch (error) {
      if (!isErrno(error, 'ESRCH')) throw error;
    }
    if (!state.paused || !container.record.stoppedByUser) return;
    await this.#resumeLocked(container);
    this.#context.emit(container, 'unpause');
  }

  async #cancelRestartLocked(container: Container): Promise<void> {
    const { state } = container.record;
    if (state.status !== 'restarting') return;
    clearTimeout(container.restartTimer);
    const { exitCode, startedAtMs, finishedAtMs } = state;
    container.record.state = { status: 'exited', exitCode, startedAtMs, finishedAtMs, oomKilled: false };
    await this.#context.registry.saveIfRoom(container);
    container.changed();
  }

  async pause(container: Container): Promise<void> {
    await container.exclusive(async () => {
      const state = requireRunning(container, 'pause container');
      if (state.paused) throw new EngineError('Conflict', 'CONTAINER_PAUSED', `Container ${container.id} is already paused`);
      await whileItRuns(container, 'pause container', () => runtimeOf(this.#context, container.run?.runtime).pause(container.id));
      container.record.state = { ...state, paused: true };
      await this.#context.registry.save(container);
    });
    this.#context.emit(container, 'pause');
  }

  async unpause(container: Container): Promise<void> {
    await container.exclusive(async () => {
      const state = requireRunning(container, 'unpause container');
      if (!state.paused) throw new EngineError('Conflict', 'CONTAINER_NOT_PAUSED', `Container ${container.id} is not paused`);
      await this.#resumeLocked(container);
    });
    this.#context.emit(container, 'unpause');
  }

  async #resumeLocked(container: Container): Promise<void> {
    await runtimeOf(this.#context, container.run?.runtime).resume(container.id);
    const { state } = container.record;
    if (state.status === 'running') container.record.state = { ...state, paused: false };
    await this.#context.registry.saveIfRoom(container);
  }
}

/** The running state, or Conflict `CONTAINER_NOT_RUNNING`. */
export function requireRunning(container: Container, what: string) {
  const { state } = container.record;
  if (state.status === 'running') return state;
  if (state.status === 'restarting')
    throw new EngineError(
      'Conflict',
      'CONTAINER_RESTARTING',
      `Container ${container.id} is restarting, wait until the container is running`,
    );
  throw notRunning(container, what);
}

/** What a runtime says of a container that has ended under it is only that: Conflict `CONTAINER_NOT_RUNNING`. */
export async function whileItRuns(container: Container, what: string, use: () => Promise<void>): Promise<void> {
  try {
    await use();
  } catch (error) {
    if (container.run === undefined || isAlive(container.run.process)) throw error;
    throw notRunning(container, what);
  }
}

function notRunning(container: Container, what: string): EngineError {
  const { name } = container.record;
  return new EngineError('Conflict', 'CONTAINER_NOT_RUNNING', `Cannot ${what}: ${name}: Container ${container.id} is not running`, {
    hint: `Start it first: slipway start ${name}`,
  });
}

/** Whether it resolved in time. */
async function within(timeoutMs: number, promise: Promise<unknown>): Promise<boolean> {
  const timeout = Promise.withResolvers<false>();
  const timer = setTimeout(() => timeout.resolve(false), timeoutMs);
  try {
    return await Promise.race([promise.then(() => true), timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}
