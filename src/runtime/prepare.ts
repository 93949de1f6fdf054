import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { mount } from '../kernel/mount.ts';
import type { Endpoint } from '../network/port.ts';
import type { Container } from './container.ts';
import { containerCgroup, type EngineContext } from './context.ts';
import { networkMode } from './create/network-mode.ts';
import type { ContainerRecord } from './port.ts';
import { buildSpec, encodeSpec, type NamespaceChoice, type SpecInput } from './spec/build.ts';
import { isInit, resolveCommand } from './spec/command.ts';
import { processEnv } from './spec/environment.ts';
import { extraHostLines, hostsFile, resolvConf } from './spec/etc-files.ts';
import { InRoot } from './spec/in-root.ts';
import { defaultShmBytes } from './spec/mounts.ts';
import type { SpecMount } from './spec/types.ts';
import { resolveUser } from './spec/user.ts';

/** What a start has learnt of the network. */
export type AttachedNetwork = { netns: string | undefined; endpoints: readonly Endpoint[] };

/**
 * Writes config.json and the files that the container sees in /etc, and makes what the specification needs on the host. Errors of the
 * command have exitCode 126 or 127. Answers the stubs in the root.
 */
export async function prepareBundle(
  context: EngineContext,
  container: Container,
  rootfs: string,
  network: AttachedNetwork,
): Promise<{ stubs: string[] }> {
  const { record } = container;
  const namespaces = chooseNamespaces(context, record, network);
  const [files, shmSource] = await Promise.all([etcFiles(context, record, network), sharedMemory(context, record)]);
  const inside = inspectRoot(record, rootfs);
  const init = chooseInit(context, record, inside.command, namespaces.pid);
  const input: SpecInput = {
    record,
    rootfs,
    cgroupsPath: containerCgroup(context, record.id),
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
  };
  const { spec } = buildSpec(input);
  const stubs = findStubs(rootfs, spec.mounts);
  await Promise.all([writeFile(context.paths.bundle(record.id, 'config.json'), encodeSpec(spec), { mode: 0o600 }), makeSources(record)]);
  return { stubs };
}

function inspectRoot(record: ContainerRecord, rootfs: string) {
  using root = new InRoot(
    rootfs,
    record.mounts.filter(({ type }) => type !== 'tmpfs'),
  );
  const { config, hostConfig } = record;
  const user = resolveUser(root, config.User ?? '', hostConfig.GroupAdd ?? []);
  const env = processEnv({ env: config.Env ?? [], hostname: config.Hostname, tty: config.Tty ?? false, home: user.home });
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

function chooseNamespaces(context: EngineContext, record: ContainerRecord, network: AttachedNetwork): SpecInput['namespaces'] {
  const { hostConfig } = record;
  const shared = (mode: string | undefined, kind: string): NamespaceChoice => {
    if (mode === 'host') return 'host';
    if (mode?.startsWith('container:')) return { path: namespaceOf(context, mode.slice('container:'.length), kind) };
    return 'own';
  };
  const mode = networkMode(hostConfig);
  const net: NamespaceChoice =
    network.netns !== undefined
      ? { path: network.netns }
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
  };
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

/** /etc/hosts, /etc/hostname and /etc/resolv.conf; those of the other container when its network is shared. */
async function etcFiles(context: EngineContext, record: ContainerRecord, network: AttachedNetwork): Promise<SpecInput['files']> {
  const mode = networkMode(record.hostConfig);
  const owner = mode.kind === 'container' ? context.registry.find(mode.container).id : record.id;
  if (owner === record.id) await writeEtcFiles(context, record, network);
  return ['resolv.conf', 'hostname', 'hosts'].map((name) => ({
    source: context.paths.container(owner, name),
    destination: `/etc/${name}`,
  }));
}

async function writeEtcFiles(context: EngineContext, record: ContainerRecord, network: AttachedNetwork): Promise<void> {
  const { hostConfig, config } = record;
  const onHost = networkMode(hostConfig).kind === 'host';
  const gateway = network.endpoints.find(({ gateway }) => gateway !== '')?.gateway;
  const hosts = onHost
    ? [(await readHost('/etc/hosts')).trimEnd(), ...extraHostLines(hostConfig.ExtraHosts ?? [], '127.0.0.1'), ''].join('\n')
    : hostsFile({
        hostname: config.Hostname ?? '',
        domainname: config.Domainname,
        addresses: network.endpoints.map(({ ipAddress }) => ipAddress).filter((address) => address !== ''),
        extraHosts: hostConfig.ExtraHosts ?? [],
        gateway,
      });
  const resolv = resolvConf({
    host: await hostResolvConf(onHost),
    network: network.endpoints.flatMap(({ dnsServers }) => dnsServers),
    dns: hostConfig.Dns ?? [],
    search: hostConfig.DnsSearch ?? [],
    options: hostConfig.DnsOptions ?? [],
    keepLoopback: onHost,
  });
  await Promise.all([
    writeFile(context.paths.container(record.id, 'hosts'), hosts, { mode: 0o644 }),
    writeFile(context.paths.container(record.id, 'resolv.conf'), resolv, { mode: 0o644 }),
    writeFile(context.paths.container(record.id, 'hostname'), `${config.Hostname ?? ''}\n`, { mode: 0o644 }),
  ]);
}

/** With systemd-resolved, /etc names only its stub on the loopback; the servers behind it are in another file. */
export async function hostResolvConf(onHost: boolean): Promise<string> {
  const text = await readHost('/etc/resolv.conf');
  const onlyStub = /^nameserver\s+127\.0\.0\.53\s*$/m.test(text);
  return !onHost && onlyStub ? (await readHost('/run/systemd/resolve/resolv.conf')) || text : text;
}

async function readHost(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
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
  mount({ source: 'shm', target: path, type: 'tmpfs', data: `mode=1777,size=${record.hostConfig.ShmSize || defaultShmBytes}` });
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
