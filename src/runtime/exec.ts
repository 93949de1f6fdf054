import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join, posix } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { openPty, pipe, setWindowSize, socketStream } from '../kernel/stdio.ts';
import type { Container } from './container.ts';
import { type EngineContext, runtimeOf } from './context.ts';
import { ExecAttachment } from './exec-attachment.ts';
import type { Attachment, ExecRecord } from './port.ts';
import { encodeSpec } from './spec/build.ts';
import { capabilities } from './spec/capabilities.ts';
import { resolveCommand } from './spec/command.ts';
import { mergeEnv, processEnv } from './spec/environment.ts';
import { InRoot } from './spec/in-root.ts';
import { apparmorProfile, parseSecurityOptions } from './spec/security.ts';
import type { ProcessSpec } from './spec/types.ts';
import { resolveUser } from './spec/user.ts';

type Size = { rows: number; columns: number };
type Session = {
  record: ExecRecord;
  container: Container;
  directory: string;
  terminal?: number | undefined;
  child?: ChildProcess | undefined;
};

/** Finished ones that are remembered, for whoever asks for their exit code. */
const keptSessions = 256;

/**
 * Processes added to running containers. The runtime's own `exec` runs in the foreground below the engine and holds their stdio as pipes, so
 * that a slow client slows the process, as in a shell. They end with the container; when the engine dies, those with a client lose it.
 */
export class ExecSessions {
  readonly #context: EngineContext;
  readonly #sessions = new Map<string, Session>();

  constructor(context: EngineContext) {
    this.#context = context;
  }

  create(container: Container, request: Omit<ExecRecord, 'id' | 'containerId' | 'state'>): ExecRecord {
    requireRunning(container);
    if (request.args.length === 0) throw new EngineError('InvalidArgument', 'NO_COMMAND', 'No exec command specified');
    const id = randomBytes(32).toString('hex');
    const record: ExecRecord = { ...request, id, containerId: container.id, state: { status: 'created' } };
    this.#sessions.set(id, { record, container, directory: this.#context.paths.bundle(container.id, `exec-${id.slice(0, 16)}`) });
    this.#context.emit(container, 'exec_create', { execID: id, command: request.args.join(' ') });
    return record;
  }

  async get(id: string): Promise<ExecRecord> {
    const session = this.#find(id);
    if (session.record.state.status === 'running') session.record.state.pid = (await readPid(session)) ?? session.record.state.pid;
    return session.record;
  }

  /** Ids of what has been made for a container. */
  of(containerId: string): string[] {
    return [...this.#sessions.values()].filter(({ record }) => record.containerId === containerId).map(({ record }) => record.id);
  }

  /** Errors of the command have exitCode 126 or 127. */
  async start(id: string, options: { detach: boolean; size?: Size }): Promise<Attachment | undefined> {
    const session = this.#find(id);
    const { record, container } = session;
    if (record.state.status !== 'created') throw new EngineError('Conflict', 'EXEC_STARTED', `exec command ${id} has already started`);
    requireRunning(container);
    record.state = { status: 'running', pid: 0 };
    try {
      const spec = processSpec(this.#context, container, record, options.size);
      await mkdir(session.directory, { recursive: true, mode: 0o700 });
      await writeFile(join(session.directory, 'process.json'), encodeSpec(spec), { mode: 0o600 });
    } catch (error) {
      this.#ended(session, (error instanceof EngineError ? error.exitCode : undefined) ?? 126);
      throw error;
    }
    this.#context.emit(container, 'exec_start', { execID: id, command: record.args.join(' ') });
    return this.#run(session, options);
  }

  resize(id: string, size: Size): void {
    const { terminal, child } = this.#find(id);
    if (terminal === undefined || !child?.pid)
      throw new EngineError('Conflict', 'EXEC_NOT_RUNNING', `exec ${id} has no terminal that runs`);
    setWindowSize(terminal, size);
    // The runtime hands the size on when it is told that its own terminal's has changed.
    process.kill(child.pid, 'SIGWINCH');
  }

  forget(containerId: string): void {
    for (const [id, { record }] of this.#sessions) if (record.containerId === containerId) this.#sessions.delete(id);
  }

  #run(session: Session, options: { detach: boolean; size?: Size }): Attachment | undefined {
    const { record } = session;
    const stdio = record.tty ? terminalStdio(options.size) : pipeStdio(record, options.detach);
    const runtime = runtimeOf(this.#context, session.container.run?.runtime);
    const files = { processFile: join(session.directory, 'process.json'), pidFile: join(session.directory, 'pid') };
    const child = spawn(runtime.command, runtime.execArguments(session.container.id, files), {
      stdio: stdio.child.map((fd) => fd ?? 'ignore'),
      detached: true,
    });
    for (const fd of new Set(stdio.child)) if (fd !== undefined) closeSync(fd);
    session.child = child;
    session.terminal = stdio.terminal;
    const exited = new Promise<void>((resolve) => {
      const finish = (exitCode: number) => {
        this.#ended(session, exitCode);
        resolve();
      };
      child.on('error', () => finish(126));
      child.on('exit', (code, signal) => finish(code ?? (signal === 'SIGKILL' ? 137 : 255)));
    });
    const attachment = new ExecAttachment(stdio, exited);
    if (!options.detach) return attachment;
    attachment.drain();
    return undefined;
  }

  #ended(session: Session, exitCode: number): void {
    session.record.state = { status: 'exited', exitCode };
    session.terminal = undefined;
    session.child = undefined;
    this.#context.emit(session.container, 'exec_die', { execID: session.record.id, exitCode: String(exitCode) });
    rm(session.directory, { recursive: true, force: true }).catch((error) => this.#context.report(session.container.id, error));
    const finished = [...this.#sessions.values()].filter(({ record }) => record.state.status === 'exited');
    for (const { record } of finished.slice(0, Math.max(0, finished.length - keptSessions))) this.#sessions.delete(record.id);
  }

  #find(id: string): Session {
    const session = this.#sessions.get(id);
    if (!session) throw new EngineError('NotFound', 'EXEC_NOT_FOUND', `No such exec instance: ${id}`);
    return session;
  }
}

function requireRunning(container: Container): void {
  const { state, name } = container.record;
  if (state.status !== 'running') {
    throw new EngineError('Conflict', 'CONTAINER_NOT_RUNNING', `Container ${container.id} is not running`, {
      hint: `Start it first: slipway start ${name}`,
    });
  }
  if (state.paused)
    throw new EngineError('Conflict', 'CONTAINER_PAUSED', `Container ${container.id} is paused, unpause the container before exec`);
}

/** The root as the container's processes see it, mounts and all, is /proc/<pid>/root. */
function processSpec(context: EngineContext, container: Container, exec: ExecRecord, size: Size | undefined): ProcessSpec {
  const { record, run } = container;
  const { config, hostConfig } = record;
  using root = new InRoot(`/proc/${run?.process.pid}/root`);
  const user = userOf(root, exec.user || config.User || '', hostConfig.GroupAdd ?? []);
  const env = processEnv({ env: mergeEnv(config.Env, exec.env), hostname: config.Hostname, tty: exec.tty, home: user.home });
  const cwd = posix.normalize(exec.workingDir || config.WorkingDir || '/');
  if (!root.stat(cwd)?.isDirectory()) {
    throw new EngineError(
      'InvalidArgument',
      'WORKDIR_INVALID',
      `exec failed: chdir to cwd ("${cwd}") failed: no such directory in the container`,
      { exitCode: 126 },
    );
  }
  resolveCommand(root, exec.args[0] ?? '', env, cwd);
  const privileged = exec.privileged || (hostConfig.Privileged ?? false);
  const { granted } = capabilities(
    { privileged, add: hostConfig.CapAdd ?? null, drop: hostConfig.CapDrop ?? null },
    context.facts.capabilities,
  );
  const security = parseSecurityOptions(hostConfig.SecurityOpt ?? []);
  const apparmor = apparmorProfile(security.apparmor, { Privileged: privileged }, context.facts.apparmor);
  return {
    terminal: exec.tty,
    ...(exec.tty && size ? { consoleSize: { height: size.rows, width: size.columns } } : {}),
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: exec.args,
    env,
    cwd,
    capabilities: { bounding: granted, effective: granted, permitted: granted, inheritable: [], ambient: [] },
    noNewPrivileges: security.noNewPrivileges,
    ...(apparmor ? { apparmorProfile: apparmor } : {}),
  };
}

/** An unknown user makes an exec end with 126, and not as a mistake of the engine's. */
function userOf(root: InRoot, user: string, groupAdd: readonly string[]): ReturnType<typeof resolveUser> {
  try {
    return resolveUser(root, user, groupAdd);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw new EngineError(error.kind, error.code, error.message, { hint: error.hint, cause: error, exitCode: 126 });
  }
}

export type ExecStdio = {
  /** The child's descriptors 0, 1, 2. */
  child: (number | undefined)[];
  terminal?: number | undefined;
  stdin?: Socket | undefined;
  outputs: { stream: 'stdout' | 'stderr'; source: Socket }[];
};

function terminalStdio(size: Size | undefined): ExecStdio {
  const { master, slave } = openPty();
  if (size) setWindowSize(master, size);
  const socket = socketStream(master);
  return { child: [slave, slave, slave], terminal: master, stdin: socket, outputs: [{ stream: 'stdout', source: socket }] };
}

/** Real pipes, since a program may open /dev/stdout anew. What nobody wants goes to /dev/null, so that a detached process outlives the engine. */
function pipeStdio(record: ExecRecord, detach: boolean): ExecStdio {
  const stdin = record.openStdin && !detach ? pipe() : undefined;
  const stdout = record.attachStdout && !detach ? pipe() : undefined;
  const stderr = record.attachStderr && !detach ? pipe() : undefined;
  const reader = (fd: number) => new Socket({ fd, readable: true, writable: false });
  return {
    child: [stdin?.read, stdout?.write, stderr?.write],
    stdin: stdin && new Socket({ fd: stdin.write, readable: false, writable: true }),
    outputs: [
      ...(stdout ? [{ stream: 'stdout' as const, source: reader(stdout.read) }] : []),
      ...(stderr ? [{ stream: 'stderr' as const, source: reader(stderr.read) }] : []),
    ],
  };
}

async function readPid(session: Session): Promise<number | undefined> {
  try {
    return Number.parseInt(await readFile(join(session.directory, 'pid'), 'latin1'), 10) || undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
