import type { HostConfig, Mount } from '../../api-types/container.ts';
import type {
  ContainerInspect,
  ContainerInspectState,
  ContainerStatus,
  ContainerSummary,
  EndpointSettings,
  MountPoint,
  NetworkSettings,
  Port,
} from '../../api-types/container-inspect.ts';
import type { Endpoint, PortBinding } from '../../network/port.ts';
import type { ContainerRecord, ContainerState } from '../../runtime/port.ts';
import type { ContainerPaths } from '../services.ts';
import { humanDuration, isoTime, zeroTime } from './time.ts';

export type ContainerSizes = { writable: number; total: number };

/** GET /containers/{name}/json. */
export function inspectContainer(
  record: ContainerRecord,
  extra: { paths: ContainerPaths; execIds?: string[] | undefined; sizes?: ContainerSizes | undefined },
): ContainerInspect {
  const [path = '', ...args] = record.args;
  const files = extra.paths(record.id);
  return {
    Id: record.id,
    Created: isoTime(record.createdAtMs),
    Path: path,
    Args: args,
    State: inspectState(record.state),
    Image: record.image.id,
    ResolvConfPath: files.resolvConf,
    HostnamePath: files.hostname,
    HostsPath: files.hosts,
    LogPath: files.log,
    Name: `/${record.name}`,
    RestartCount: record.restartCount,
    Driver: record.snapshotter,
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: extra.execIds ?? null,
    HostConfig: withDefaults(record.hostConfig),
    GraphDriver: { Name: record.snapshotter, Data: { Tree: record.image.tree } },
    Mounts: record.mounts.map(mountPoint),
    Config: { ...record.config, Image: record.image.reference || record.image.id },
    NetworkSettings: networkSettings(record),
    ...(extra.sizes === undefined ? {} : { SizeRw: extra.sizes.writable, SizeRootFs: extra.sizes.total }),
  };
}

/** A row of GET /containers/json. */
export function summarizeContainer(record: ContainerRecord, nowMs: number, sizes?: ContainerSizes): ContainerSummary {
  return {
    Id: record.id,
    Names: [`/${record.name}`],
    Image: record.image.reference || record.image.id,
    ImageID: record.image.id,
    Command: record.args.map((arg) => (/\s/.test(arg) ? `'${arg}'` : arg)).join(' '),
    Created: Math.floor(record.createdAtMs / 1000),
    Ports: listPorts(record),
    Labels: record.config.Labels ?? {},
    State: statusOf(record.state),
    Status: statusText(record.state, nowMs),
    HostConfig: { NetworkMode: networkMode(record.hostConfig) },
    NetworkSettings: { Networks: endpointSettings(record) },
    Mounts: record.mounts.map(mountPoint),
    ...(sizes === undefined ? {} : { SizeRw: sizes.writable, SizeRootFs: sizes.total }),
  };
}

export function statusOf(state: ContainerState): ContainerStatus {
  return state.status === 'running' && state.paused ? 'paused' : state.status;
}

export function isRunning(state: ContainerState): boolean {
  return state.status === 'running' || state.status === 'restarting';
}

/** `Up 3 minutes`, `Exited (1) 2 hours ago`: what `docker ps` prints as it is. */
export function statusText(state: ContainerState, nowMs: number): string {
  const ago = (ms: number) => `${humanDuration(Math.max(0, nowMs - ms))} ago`;
  switch (state.status) {
    case 'created':
      return 'Created';
    case 'running':
      return `Up ${humanDuration(Math.max(0, nowMs - state.startedAtMs))}${state.paused ? ' (Paused)' : ''}`;
    case 'restarting':
      return `Restarting (${state.exitCode}) ${ago(state.finishedAtMs)}`;
    case 'exited':
      return `Exited (${state.exitCode}) ${ago(state.finishedAtMs)}`;
    case 'removing':
      return 'Removal In Progress';
    case 'dead':
      return 'Dead';
  }
}

function inspectState(state: ContainerState): ContainerInspectState {
  const finished = state.status === 'exited' || state.status === 'restarting';
  const started = finished || state.status === 'running';
  return {
    Status: statusOf(state),
    // Docker: a container between two runs of its restart policy counts as running.
    Running: isRunning(state),
    Paused: state.status === 'running' && state.paused,
    Restarting: state.status === 'restarting',
    OOMKilled: state.status === 'exited' && state.oomKilled,
    Dead: state.status === 'dead',
    Pid: state.status === 'running' ? state.pid : 0,
    ExitCode: (finished || state.status === 'created' ? state.exitCode : undefined) ?? 0,
    Error: ('error' in state ? state.error : undefined) ?? '',
    StartedAt: started ? timeOrZero(state.startedAtMs) : zeroTime,
    FinishedAt: finished ? timeOrZero(state.finishedAtMs) : zeroTime,
  };
}

function timeOrZero(ms: number): string {
  return ms > 0 ? isoTime(ms) : zeroTime;
}

function mountPoint(mount: ContainerRecord['mounts'][number]): MountPoint {
  const type: Mount['Type'] = mount.type;
  return {
    Type: type,
    ...(mount.name === undefined ? {} : { Name: mount.name, Driver: 'local' }),
    Source: mount.source,
    Destination: mount.destination,
    Mode: mount.readOnly ? 'ro' : '',
    RW: !mount.readOnly,
    Propagation: mount.propagation ?? (type === 'bind' ? 'rprivate' : ''),
  };
}

function networkMode(hostConfig: HostConfig): string {
  return hostConfig.NetworkMode === undefined || hostConfig.NetworkMode === '' ? 'default' : hostConfig.NetworkMode;
}

function networkSettings(record: ContainerRecord): NetworkSettings {
  const networks = endpointSettings(record);
  // The flat fields are those of the default bridge only.
  const bridge = networks.bridge;
  return {
    Bridge: '',
    SandboxID: record.endpoints.length > 0 ? record.id : '',
    SandboxKey: '',
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge?.EndpointID ?? '',
    Gateway: bridge?.Gateway ?? '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    IPAddress: bridge?.IPAddress ?? '',
    IPPrefixLen: bridge?.IPPrefixLen ?? 0,
    IPv6Gateway: '',
    MacAddress: bridge?.MacAddress ?? '',
    Ports: record.state.status === 'running' ? portMap(record) : {},
    Networks: networks,
  };
}

function endpointSettings(record: ContainerRecord): Record<string, EndpointSettings> {
  const live = new Map(record.endpoints.map((endpoint) => [endpoint.network, endpoint]));
  const names = record.networks.length > 0 ? record.networks.map(({ name }) => name) : fallbackNetworks(record);
  return Object.fromEntries(
    names.map((name) => {
      const asked = record.networks.find((network) => network.name === name);
      return [name, endpoint(record, asked, live.get(name))];
    }),
  );
}

function fallbackNetworks(record: ContainerRecord): string[] {
  const mode = networkMode(record.hostConfig);
  return mode === 'host' || mode === 'none' ? [mode] : record.endpoints.map(({ network }) => network);
}

function endpoint(
  record: ContainerRecord,
  asked: ContainerRecord['networks'][number] | undefined,
  live: Endpoint | undefined,
): EndpointSettings {
  const aliases = live?.aliases ?? asked?.aliases ?? [];
  return {
    IPAMConfig: asked?.ipv4 === undefined ? null : { IPv4Address: asked.ipv4 },
    Links: null,
    Aliases: aliases.length > 0 ? aliases : null,
    MacAddress: live?.macAddress ?? '',
    NetworkID: live?.networkId ?? '',
    EndpointID: live?.endpointId ?? '',
    Gateway: live?.gateway ?? '',
    IPAddress: live?.ipAddress ?? '',
    IPPrefixLen: live?.prefixLength ?? 0,
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    DriverOpts: null,
    DNSNames: live === undefined ? null : [...new Set([record.name, ...aliases, record.id.slice(0, 12)])],
  };
}

function exposedPorts(record: ContainerRecord): string[] {
  return Object.keys(record.config.ExposedPorts ?? {}).map((port) => (port.includes('/') ? port : `${port}/tcp`));
}

function portMap(record: ContainerRecord): NetworkSettings['Ports'] {
  const ports: NetworkSettings['Ports'] = {};
  for (const port of exposedPorts(record)) ports[port] = null;
  for (const binding of record.ports) {
    const key = `${binding.containerPort}/${binding.protocol}`;
    ports[key] = [...(ports[key] ?? []), { HostIp: hostIp(binding), HostPort: String(binding.hostPort) }];
  }
  return ports;
}

function listPorts(record: ContainerRecord): Port[] {
  if (record.state.status !== 'running') return [];
  const bound = record.ports.map(
    (binding): Port => ({
      IP: hostIp(binding),
      PrivatePort: binding.containerPort,
      PublicPort: binding.hostPort,
      Type: binding.protocol,
    }),
  );
  const unbound = exposedPorts(record).flatMap((text): Port[] => {
    const [number = '', type] = text.split('/');
    const privatePort = Number(number);
    if (!Number.isInteger(privatePort) || bound.some((port) => port.PrivatePort === privatePort && port.Type === type)) return [];
    return [{ PrivatePort: privatePort, Type: type === 'udp' ? 'udp' : 'tcp' }];
  });
  return [...bound, ...unbound];
}

function hostIp(binding: PortBinding): string {
  return binding.hostIp === '' ? '0.0.0.0' : binding.hostIp;
}

/** The fields that clients read without looking whether they are there. What a client left empty shows as what it means. */
function withDefaults(hostConfig: HostConfig): HostConfig {
  const defaults: HostConfig = {
    Binds: null,
    ContainerIDFile: '',
    LogConfig: { Type: 'json-file', Config: {} },
    NetworkMode: 'default',
    PortBindings: {},
    RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
    AutoRemove: false,
    VolumeDriver: '',
    VolumesFrom: null,
    CapAdd: null,
    CapDrop: null,
    CgroupnsMode: 'private',
    Dns: [],
    DnsOptions: [],
    DnsSearch: [],
    ExtraHosts: null,
    GroupAdd: null,
    IpcMode: 'private',
    Cgroup: '',
    OomScoreAdj: 0,
    PidMode: '',
    Privileged: false,
    PublishAllPorts: false,
    ReadonlyRootfs: false,
    SecurityOpt: null,
    UTSMode: '',
    UsernsMode: '',
    ShmSize: 67_108_864,
    Runtime: 'runc',
    CpuShares: 0,
    Memory: 0,
    NanoCpus: 0,
    CgroupParent: '',
    CpuPeriod: 0,
    CpuQuota: 0,
    CpusetCpus: '',
    CpusetMems: '',
    Devices: [],
    MemoryReservation: 0,
    MemorySwap: 0,
    MemorySwappiness: null,
    OomKillDisable: null,
    PidsLimit: null,
    Ulimits: [],
  };
  const given = Object.entries(hostConfig).filter(([key, value]) => !isEmpty(value) || isEmpty(defaults[key as keyof HostConfig]));
  const logConfig = { Type: hostConfig.LogConfig?.Type || 'json-file', Config: hostConfig.LogConfig?.Config ?? {} };
  return { ...defaults, ...Object.fromEntries(given), LogConfig: logConfig };
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || value === '' || value === 0;
}
