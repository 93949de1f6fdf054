import { readdir } from 'node:fs/promises';
import { cpus, hostname, release, totalmem } from 'node:os';
import type { InfoResponse } from '../api-types/system.ts';
import { describeProgram } from './components.ts';
import { isRunning } from './encode/container-state.ts';
import { kernelArch } from './go-arch.ts';
import { type HostInfo, type LimitName, readHostInfo } from './host-info.ts';
import type { EngineInfo, Services } from './services.ts';

const hubName = 'docker.io';

/** GET /info in the shape of the client's version. */
export async function systemInfo(services: Services, speaks: (version: string) => boolean): Promise<InfoResponse> {
  const { info } = services;
  const [counts, host, programs, open] = await Promise.all([
    countThings(services),
    readHostInfo(info.cgroupVersion),
    commits(services),
    openFiles(),
  ]);
  return {
    ID: info.id,
    ...counts,
    Driver: info.snapshotter,
    DriverStatus: [['Root', info.root]],
    Plugins: {
      Volume: services.volumes.drivers(),
      Network: await networkDrivers(services),
      Authorization: info.authorizationPlugins.length === 0 ? null : [...info.authorizationPlugins],
      Log: ['json-file', 'local', 'none'],
    },
    ...host.limits,
    IPv4Forwarding: host.ipv4Forwarding,
    Debug: info.debug,
    NFd: open,
    NGoroutines: process.getActiveResourcesInfo().length,
    SystemTime: new Date().toISOString(),
    LoggingDriver: 'json-file',
    CgroupDriver: info.cgroupDriver,
    CgroupVersion: info.cgroupVersion,
    NEventsListener: services.events.listeners,
    KernelVersion: release(),
    OperatingSystem: host.operatingSystem,
    OSVersion: host.osVersion,
    OSType: 'linux',
    Architecture: kernelArch(),
    ...(speaks('1.50') ? {} : { BridgeNfIptables: false, BridgeNfIp6tables: false }),
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: registryConfig(info.registries, speaks),
    NCPU: cpus().length,
    MemTotal: totalmem(),
    GenericResources: null,
    DockerRootDir: info.root,
    HttpProxy: proxy('HTTP_PROXY'),
    HttpsProxy: proxy('HTTPS_PROXY'),
    NoProxy: process.env.NO_PROXY ?? process.env.no_proxy ?? '',
    Name: hostname(),
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: info.version,
    Runtimes: Object.fromEntries(
      Object.entries(info.runtimes).map(([name, { path, args = [] }]) => [
        name,
        { path, ...(args.length > 0 ? { runtimeArgs: [...args] } : {}) },
      ]),
    ),
    DefaultRuntime: info.defaultRuntime,
    Swarm: { NodeID: '', NodeAddr: '', LocalNodeState: 'inactive', ControlAvailable: false, Error: '', RemoteManagers: null },
    LiveRestoreEnabled: true,
    Isolation: '',
    InitBinary: info.initPath ?? '',
    ContainerdCommit: commit('', speaks),
    RuncCommit: commit(programs.runtime, speaks),
    InitCommit: commit(programs.init, speaks),
    SecurityOptions: securityOptions(services, host, speaks),
    CDISpecDirs: [...info.cdiDirs],
    Warnings: warnings(host, info.cgroupVersion),
  };
}

async function countThings({ containers, store }: Services) {
  const [records, images] = await Promise.all([containers.list(), store.images.list()]);
  const alive = records.filter(({ state }) => isRunning(state));
  const paused = alive.filter(({ state }) => state.status === 'running' && state.paused).length;
  return {
    Containers: records.length,
    ContainersRunning: alive.length - paused,
    ContainersPaused: paused,
    ContainersStopped: records.length - alive.length,
    Images: images.length,
  };
}

async function networkDrivers({ networks }: Services): Promise<string[]> {
  const used = (await networks.list()).map(({ driver }) => driver);
  return [...new Set(['bridge', 'host', 'null', ...used])].toSorted();
}

async function commits({ info }: Services): Promise<{ runtime: string; init: string }> {
  const path = info.runtimes[info.defaultRuntime]?.path;
  const [runtime, init] = await Promise.all([
    path === undefined ? undefined : describeProgram(path),
    info.initPath === undefined ? undefined : describeProgram(info.initPath),
  ]);
  return { runtime: runtime?.commit ?? '', init: init?.commit || init?.version || '' };
}

/** Since 1.49 nobody expects a certain commit any more. */
function commit(id: string, speaks: (version: string) => boolean): { ID: string; Expected?: string } {
  const shown = id === '' ? 'N/A' : id;
  return { ID: shown, ...(speaks('1.49') ? {} : { Expected: shown }) };
}

/** As Docker shows it (moby: registry/config.go): the Hub with its mirrors, and every host that is configured otherwise. Registries on this host itself may be without certificates. */
function registryConfig(configured: EngineInfo['registries'], speaks: (version: string) => boolean): Record<string, unknown> {
  const ranges = Object.keys(configured).filter((name) => name.includes('/'));
  const mirrorsOf = (name: string) => (configured[name]?.mirrors ?? []).map(mirrorAddress);
  const others = Object.entries(configured).filter(([name]) => name !== hubName && !ranges.includes(name));
  const hosts = others.map(([Name, { insecure }]) => [Name, { Name, Mirrors: mirrorsOf(Name), Secure: !insecure, Official: false }]);
  const hub = { Name: hubName, Mirrors: mirrorsOf(hubName), Secure: configured[hubName]?.insecure !== true, Official: true };
  const nondistributable = { AllowNondistributableArtifactsCIDRs: null, AllowNondistributableArtifactsHostnames: null };
  return {
    ...(speaks('1.47') ? {} : nondistributable),
    InsecureRegistryCIDRs: [...new Set(['::1/128', '127.0.0.0/8', ...ranges])],
    IndexConfigs: { [hubName]: hub, ...Object.fromEntries(hosts) },
    Mirrors: hub.Mirrors,
  };
}

/** Docker's are addresses with a slash at the end. */
function mirrorAddress(text: string): string {
  const address = /^https?:\/\//i.test(text) ? text : `https://${text}`;
  return address.endsWith('/') ? address : `${address}/`;
}

function securityOptions({ info }: Services, host: HostInfo, speaks: (version: string) => boolean): string[] {
  const options = [
    ...(host.appArmor ? ['name=apparmor'] : []),
    ...(host.seccomp ? [`name=seccomp,profile=${info.seccompProfile}`] : []),
    ...(host.selinux ? ['name=selinux'] : []),
    ...(info.usernsRemap ? ['name=userns'] : []),
    ...(host.cgroupNamespaces && info.cgroupVersion === '2' ? ['name=cgroupns'] : []),
  ];
  return speaks('1.25') ? options : options.map((option) => /^name=([^,]*)/.exec(option)?.[1] ?? option);
}

const limitWarnings: Partial<Record<LimitName, string>> = {
  MemoryLimit: 'No memory limit support',
  SwapLimit: 'No swap limit support',
  CpuCfsQuota: 'No cpu cfs quota support',
  CpuCfsPeriod: 'No cpu cfs period support',
  CPUShares: 'No cpu shares support',
  CPUSet: 'No cpuset support',
  PidsLimit: 'No pids limit support',
};
/** What a unified hierarchy lacks by nature is nothing that anybody can mend. */
const separateWarnings: Partial<Record<LimitName, string>> = {
  KernelMemoryTCP: 'No kernel memory TCP limit support',
  OomKillDisable: 'No oom kill disable support',
};

function warnings({ limits, missingBlockLimits, ipv4Forwarding }: HostInfo, cgroupVersion: '1' | '2'): string[] | null {
  const wanted = { ...limitWarnings, ...(cgroupVersion === '1' ? separateWarnings : {}) };
  const found = Object.entries(wanted).flatMap(([name, text]) => (limits[name as LimitName] ? [] : [`WARNING: ${text}`]));
  const prefix = cgroupVersion === '1' ? 'blkio ' : '';
  const block = missingBlockLimits.map((name) => `WARNING: No ${prefix}${name.replace(/^blkio\./, '')} support`);
  const all = [...found, ...block, ...(ipv4Forwarding ? [] : ['WARNING: IPv4 forwarding is disabled'])];
  return all.length > 0 ? all : null;
}

/** Passwords in a proxy's address are nobody's business. */
function proxy(name: string): string {
  const text = process.env[name] ?? process.env[name.toLowerCase()] ?? '';
  return text.replace(/\/\/[^@/]*@/, '//xxxxx:xxxxx@');
}

async function openFiles(): Promise<number> {
  return (await readdir('/proc/self/fd')).length;
}
