import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { EngineError } from '../base/errors.ts';
import { adoptOrphans } from '../kernel/orphans.ts';
import type { Container } from './container.ts';
import { type EngineContext, runtimeOf } from './context.ts';
import { ExecAttachment } from './exec-attachment.ts';
import { launchExec, type RunningExec } from './exec-launch.ts';
import { execProcess } from './exec-process.ts';
import { execEnds, type Size } from './exec-stdio.ts';
import type { Attachment, ExecRecord } from './port.ts';
import { isAlive } from './processes.ts';

type Session = {
  record: ExecRecord;
  container: Container;
  /** Resolves when the process has begun, or cannot. */
  launched: PromiseWithResolvers<RunningExec | undefined>;
  /** Resolves with the exit code, once it is in the record. */
  ended: PromiseWithResolvers<number>;
  attachment?: ExecAttachment;
};

export type ExecRequest = Omit<ExecRecord, 'id' | 'containerId' | 'state'>;

/** Finished ones that are remembered, for whoever asks for their exit code. */
const keptSessions = 256;
/** How long a resize waits for a process that is being started. */
const launchWaitMs = 10_000;

/**
 * Processes added to running containers. The runtime starts them and leaves; they are children of the engine's, with pipes or a terminal to it, so
 * that a slow client slows the process, as in a shell. They end with the container. When the engine dies they run on, without a client: ADR 57.
 */
export class ExecSessions {
  readonly #context: EngineContext;
  readonly #sessions = new Map<string, Session>();

  constructor(context: EngineContext) {
    this.#context = context;
    adoptOrphans();
  }

  create(container: Container, request: ExecRequest): ExecRecord {
    requireExecutable(container);
    if (request.args.length === 0) throw new EngineError('InvalidArgument', 'NO_COMMAND', 'No exec command specified');
    const id = randomBytes(32).toString('hex');
    const record: ExecRecord = { ...request, id, containerId: container.id, state: { status: 'created' } };
    const session = {
      record,
      container,
      launched: Promise.withResolvers<RunningExec | undefined>(),
      ended: Promise.withResolvers<number>(),
    };
    this.#sessions.set(id, session);
    this.#context.emit(container, 'exec_create', { execID: id, command: request.args.join(' ') });
    return record;
  }

  get(id: string): ExecRecord {
    return this.#find(id).record;
  }

  /** Ids of what has been made for a container. */
  of(containerId: string): string[] {
    return [...this.#sessions.values()].filter(({ record }) => record.containerId === containerId).map(({ record }) => record.id);
  }

  /** Resolves when the process has begun. Errors of the command have exitCode 126 or 127. */
  async start(id: string, options: { detach: boolean; size?: Size | undefined }): Promise<Attachment | undefined> {
    const session = this.#find(id);
    const { record, container } = session;
    if (record.state.status !== 'created') {
      const what = record.state.status === 'running' ? 'is already running' : 'has already run';
      throw new EngineError('Conflict', 'EXEC_STARTED', `Error: Exec command ${id} ${what}`);
    }
    requireExecutable(container);
    record.state = { status: 'running', pid: 0 };
    this.#context.emit(container, 'exec_start', { execID: id, command: record.args.join(' ') });
    try {
      const running = await this.#launch(session, options);
      record.state = { status: 'running', pid: running.pid };
      return this.#follow(session, running, options.detach);
    } catch (cause) {
      // In a container that has ended under it nothing is found any more: that says nothing about the command.
      const error = hasEnded(container) ? notRunning(container, { cause }) : cause;
      this.#record(session, (error instanceof EngineError ? error.exitCode : undefined) ?? 126);
      throw error;
    }
  }

  /** The exit code of one that was started, when it has ended. */
  async ended(id: string): Promise<number> {
    return this.#find(id).ended.promise;
  }

  async resize(id: string, size: Size): Promise<void> {
    const { launched, record } = this.#find(id);
    const notRunning = () => new EngineError('Conflict', 'EXEC_NOT_RUNNING', `exec ${id} has no terminal that runs`);
    if (record.state.status !== 'running') throw notRunning();
    const timeout = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => timeout.resolve(undefined), launchWaitMs).unref();
    const running = await Promise.race([launched.promise, timeout.promise]);
    clearTimeout(timer);
    if (running?.stdio.resize === undefined) throw notRunning();
    running.stdio.resize(size);
  }

  /** Forgets one that nobody will ask about. */
  discard(id: string): void {
    this.#sessions.delete(id);
  }

  forget(containerId: string): void {
    for (const [id, { record }] of this.#sessions) if (record.containerId === containerId) this.#sessions.delete(id);
  }

  /** Leaves what runs: it runs on without a client. */
  close(): void {
    for (const { attachment } of this.#sessions.values()) attachment?.abandon();
    this.#sessions.clear();
  }

  async #launch({ record, container }: Session, options: { detach: boolean; size?: Size | undefined }): Promise<RunningExec> {
    const directory = this.#context.paths.exec(record.id);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    try {
      return await launchExec({
        containerId: container.id,
        directory,
        runtime: runtimeOf(this.#context, container.run?.runtime),
        process: execProcess(this.#context, container, record, options.size),
        ends: execEnds(record, directory, options.detach),
      });
    } finally {
      // The runtime has read it all.
      await rm(directory, { recursive: true, force: true });
    }
  }

  #follow(session: Session, running: RunningExec, detach: boolean): Attachment | undefined {
    session.launched.resolve(running);
    const exited = running.ended.then((exitCode) => this.#ended(session, exitCode));
    const detached = () => this.#context.emit(session.container, 'exec_detach', { execID: session.record.id });
    const attachment = new ExecAttachment(running.stdio, exited, detached);
    session.attachment = attachment;
    if (!detach) return attachment;
    attachment.close();
    return undefined;
  }

  #ended(session: Session, exitCode: number): void {
    this.#record(session, exitCode);
    this.#context.emit(session.container, 'exec_die', { execID: session.record.id, exitCode: String(exitCode) });
  }

  #record(session: Session, exitCode: number): void {
    session.record.state = { status: 'exited', exitCode };
    delete session.attachment;
    session.launched.resolve(undefined);
    session.ended.resolve(exitCode);
    const finished = [...this.#sessions.values()].filter(({ record: { state } }) => state.status === 'exited');
    for (const { record: old } of finished.slice(0, Math.max(0, finished.length - keptSessions))) this.#sessions.delete(old.id);
  }

  #find(id: string): Session {
    const session = this.#sessions.get(id);
    if (!session) throw new EngineError('NotFound', 'EXEC_NOT_FOUND', `No such exec instance: ${id}`);
    return session;
  }
}

function requireExecutable(container: Container): void {
  const { state } = container.record;
  if (state.status === 'restarting') {
    throw new EngineError(
      'Conflict',
      'CONTAINER_RESTARTING',
      `Container ${container.id} is restarting, wait until the container is running`,
    );
  }
  if (state.status !== 'running') throw notRunning(container);
  if (state.paused)
    throw new EngineError('Conflict', 'CONTAINER_PAUSED', `Container ${container.id} is paused, unpause the container before exec`);
}

function hasEnded({ run }: Container): boolean {
  return run === undefined || !isAlive(run.process);
}

function notRunning({ id, record: { name } }: Container, options: { cause?: unknown } = {}): EngineError {
  return new EngineError('Conflict', 'CONTAINER_NOT_RUNNING', `Container ${id} is not running`, {
    ...options,
    hint: `Start it first: slipway start ${name}`,
  });
}
