import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { mount } from '../kernel/mount.ts';
import type { Container } from './container.ts';
import { cgroupOf, type EngineContext, runtimeOf } from './context.ts';
import { namespaceOwner } from './create/id-map.ts';
import { linkedContainers, linkVariables } from './create/links.ts';
import { networkMode } from './create/network-mode.ts';
import { placeEtcFiles } from './etc-files.ts';
import type { ContainerRecord } from './port.ts';
import { ensureDefaultProfile } from './spec/apparmor.ts';
import { buildSpec, encodeSpec, type NamespaceChoice, type SpecInput } from './spec/build.ts';
import { resolveDeviceRequests } from './spec/cdi/requests.ts';
import { isInit, resolveCommand } from './spec/command.ts';
import { processEnv } from './spec/environment.ts';
import { makesRecursiveReadOnly } from './spec/features.ts';
import { InRoot } from './spec/in-root.ts';
import { shareRealtime } from './spec/realtime.ts';
import type { RuntimeSpec, SpecMount } from './spec/types.ts';
import { resolveUser } from './spec/user.ts';

/** Where the parts of a container are on the host. */
export type Places = {
  rootfs: string;
  /** Its network namespace, when it has one of the engine's. */
  netns: string | undefined;
  /** As in the record, with each volume's path for this run. */
  mounts: ContainerRecord['mounts'];
};

/**
 * Writes config.json and makes what the specification needs on the host; the files of /etc are there, but not written yet. Errors of the command
 * have exitCode 126 or 127. Answers the specification and the stubs in the root.
 */
export async function prepareBundle(
  context: EngineContext,
  container: Container,
  { rootfs, netns, mounts }: Places,
): Promise<{ spec: RuntimeSpec; stubs: string[] }> {
  const record = { ...container.record, mounts };
  const namespaces = chooseNamespaces(context, record, netns);
  const runtime = runtimeOf(context, record.hostConfig.Runtime);
  const [files, shmSource, deviceEdits, recursiveReadOnly] = await Promise.all([
    placeEtcFiles(context, record),
    sharedMemory(context, record),
    resolveDeviceRequests(record.hostConfig.DeviceRequests, context.facts.settings.cdiDirectories),
    mounts.some(({ readOnly }) => readOnly) && makesRecursiveReadOnly(runtime),
  ]);
  await shareRealtime(cgroupOf(context, record.id).path, record.hostConfig);
  const linkEnv = linkVariables(linkedContainers(context, record), record);
  const inside = inspectRoot(record, rootfs, linkEnv);
  const init = chooseInit(context, record, inside.command, namespaces.pid);
  const input: SpecInput = {
    record,
    rootfs,
    cgroupsPath: cgroupOf(context, record.id).spec,
    facts: context.facts,
    user: inside.user,
    env: inside.env,
    args: record.args,
    cwd: inside.cwd,
    namespaces,
    files,
    shmSource,
    init,
    consoleSize: container.size,
    deviceEdits,
    recursiveReadOnly,
  };
  const spec = runtime.prepare(buildSpec(input).spec);
  await ensureDefaultProfile(spec.process.apparmorProfile);
  const stubs = findStubs(rootfs, spec.mounts);
  await Promise.all([writeFile(context.paths.bundle(record.id, 'config.json'), encodeSpec(spec), { mode: 0o600 }), makeSources(record)]);
  return { spec, stubs };
}

function inspectRoot(record: ContainerRecord, rootfs: string, linkEnv: readonly string[]) {
  using root = new InRoot(
    rootfs,
    record.mounts.filter(({ type }) => type !== 'tmpfs'),
  );
  const { config, hostConfig } = record;
  const user = resolveUser(root, config.User ?? '', hostConfig.GroupAdd ?? []);
  const env = processEnv({
    env: [...linkEnv, ...(config.Env ?? [])],
    hostname: config.Hostname,
    tty: config.Tty ?? false,
    home: user.home,
  });
  const cwd = posix.normalize(config.WorkingDir || '/');
  makeWorkingDirectory(root, cwd);
  const command = resolveCommand(root, record.args[0] ?? '', env, cwd);
  return { user, env, cwd, command };
}

export function makeWorkingDirectory(root: InRoot, cwd: string): void {
  const stats = root.stat(cwd);
  if (stats?.isDirectory()) return;
  const refuse = (cause?: unknown) =>
    new EngineError('InvalidArgument', 'WORKDIR_INVALID', `Cannot mkdir: ${cwd} is not a directory`, { exitCode: 126, cause });
  if (stats) throw refuse();
  try {
    root.makeDirectory(cwd);
  } catch (error) {
    if (isErrno(error, 'EEXIST', 'ENOTDIR', 'ELOOP', 'ENOENT')) throw refuse(error);
    throw error;
  }
}

/** `/dev` is a fresh tmpfs, which a read-only root and a noexec host path do not disturb. One that the user binds is left alone. */
function chooseInit(context: EngineContext, record: ContainerRecord, command: string, pid: NamespaceChoice): SpecInput['init'] {
  const asked = record.hostConfig.Init ?? undefined;
  if (asked === false || (asked === undefined && (pid !== 'own' || isInit(command)))) return undefined;
  if (context.initPath === undefined) {
    if (asked === undefined) return undefined;
    throw new EngineError('Unavailable', 'INIT_MISSING', 'an init was asked for, but none is installed', {
      hint: 'apt-get install catatonit',
      exitCode: 125,
    });
  }
  const devIsBound = record.mounts.some(({ destination }) => destination === '/dev');
  return { source: context.initPath, destination: devIsBound ? '/run/.slipway-init' : '/dev/init' };
}

function chooseNamespaces(context: EngineContext, record: ContainerRecord, netns: string | undefined): SpecInput['namespaces'] {
  const { hostConfig } = record;
  const shared = (mode: string | undefined, kind: string): NamespaceChoice => {
    if (mode === 'host') return 'host';
    if (mode?.startsWith('container:')) return { path: namespaceOf(context, mode.slice('container:'.length), kind) };
    return 'own';
  };
  const mode = networkMode(hostConfig);
  const net: NamespaceChoice =
    netns !== undefined
      ? { path: netns }
      : mode.kind === 'host'
        ? 'host'
        : mode.kind === 'container'
          ? { path: namespaceOf(context, mode.container, 'net') }
          : 'own';
  return {
    network: net,
    pid: shared(hostConfig.PidMode, 'pid'),
    ipc: shared(hostConfig.IpcMode, 'ipc'),
    uts: shared(hostConfig.UTSMode, 'uts'),
    user: record.idMap ? { path: userNamespaceOf(context, record) } : 'host',
  };
}

/** The one that was made for this start, or that of the container whose namespaces are shared. */
function userNamespaceOf(context: EngineContext, record: ContainerRecord): string {
  const owner = namespaceOwner(record.hostConfig);
  return owner === undefined ? context.paths.bundle(record.id, 'userns') : namespaceOf(context, owner, 'user');
}

function namespaceOf(context: EngineContext, name: string, kind: string): string {
  const other = context.registry.find(name);
  if (other.record.state.status !== 'running') {
    throw new EngineError('Conflict', 'CONTAINER_NOT_RUNNING', `cannot join ${kind} of a non running container: ${other.id}`, {
      hint: `Start it first: slipway start ${other.record.name}`,
      exitCode: 125,
    });
  }
  return `/proc/${other.record.state.pid}/ns/${kind}`;
}

/** A host path for /dev/shm, where the container's own tmpfs will not do: others may share it, or it is another's. */
async function sharedMemory(context: EngineContext, record: ContainerRecord): Promise<string | undefined> {
  const mode = record.hostConfig.IpcMode ?? '';
  if (mode === 'host') return '/dev/shm';
  if (mode.startsWith('container:')) {
    const other = context.registry.find(mode.slice('container:'.length));
    const path = context.paths.bundle(other.id, 'shm');
    if (existsSync(path)) return path;
    throw new EngineError('InvalidArgument', 'IPC_NOT_SHAREABLE', `can't join IPC of container ${other.id}: non-shareable IPC`, {
      hint: 'Start the other one with --ipc shareable.',
      exitCode: 125,
    });
  }
  if (mode !== 'shareable') return undefined;
  const path = context.paths.bundle(record.id, 'shm');
  await mkdir(path, { recursive: true });
  mount({
    source: 'shm',
    target: path,
    type: 'tmpfs',
    data: `mode=1777,size=${record.hostConfig.ShmSize || context.facts.settings.defaultShmBytes}`,
  });
  return path;
}

/** A host folder of `-v` that has gone since the container was made is made again, as Docker does. */
async function makeSources(record: ContainerRecord): Promise<void> {
  const fromBinds = (source: string) =>
    (record.hostConfig.Binds ?? []).some((text) => posix.normalize(text.split(':')[0] ?? '') === source);
  for (const { type, source } of record.mounts) {
    if (type === 'bind' && !existsSync(source) && fromBinds(source)) await mkdir(source, { recursive: true, mode: 0o755 });
  }
}

/** Mount points that the root lacks and the runtime will make, with their missing parents. Those below another mount are not in the root. */
export function findStubs(rootfs: string, mounts: readonly SpecMount[]): string[] {
  using root = new InRoot(rootfs);
  const below = (path: string) => mounts.some(({ destination }) => path.startsWith(`${destination}/`));
  return [
    ...new Set(mounts.filter(({ destination }) => !below(destination)).flatMap(({ destination }) => root.missing(destination))),
  ].sort();
}
