import type { ContainerConfig, HostConfig, Mount } from '../../api-types/container.ts';
import type { ContainerInspect, ContainerSummary, MountPoint } from '../../api-types/container-inspect.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import type { ContainerPaths, EngineInfo } from '../services.ts';
import { inspectState, statusOf, statusText } from './container-state.ts';
import { emptyConfig } from './empty-config.ts';
import { endpointSettings, networkMode, networkSettings } from './endpoints.ts';
import { withDefaults } from './host-config.ts';
import { listPorts } from './ports.ts';
import { isoTime } from './time.ts';

export type ContainerSizes = { writable: number; total: number };

type InspectOptions = {
  paths: ContainerPaths;
  /** Defaults that what a client left out shows as. */
  engine: Pick<EngineInfo, 'defaultRuntime' | 'cgroupVersion'>;
  /** Whether the client speaks a version or a newer one. */
  speaks: (version: string) => boolean;
  sizes?: ContainerSizes | undefined;
  /** Ids of its execs. */
  execs: readonly string[];
};

/** GET /containers/{name}/json. */
export function inspectContainer(record: ContainerRecord, { paths, engine, speaks, sizes, execs }: InspectOptions): ContainerInspect {
  const [path = '', ...args] = record.args;
  const files = paths(record.id);
  const hostConfig = withDefaults(record.hostConfig, engine);
  return {
    Id: record.id,
    Created: isoTime(record.createdAtMs),
    Path: path,
    Args: args,
    State: inspectState(record),
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
    AppArmorProfile: appArmorProfile(record.hostConfig),
    ExecIDs: execs.length > 0 ? [...execs] : null,
    HostConfig: hostConfig,
    GraphDriver: { Name: record.snapshotter, Data: { Tree: record.image.tree } },
    ...(sizes === undefined ? {} : { SizeRw: sizes.writable, SizeRootFs: sizes.total }),
    Mounts: record.mounts.map(mountPoint),
    Config: inspectConfig(record),
    NetworkSettings: networkSettings(record, { shortAliases: !speaks('1.45'), sandboxKey: files.netns ?? '' }),
  };
}

/** A row of GET /containers/json. `image` is what the container's reference still means; its id when that has moved on. */
export function summarizeContainer(
  record: ContainerRecord,
  {
    nowMs,
    image,
    sizes,
    speaks,
  }: { nowMs: number; image: string; sizes?: ContainerSizes | undefined; speaks: (version: string) => boolean },
): ContainerSummary {
  const { Annotations } = record.hostConfig;
  return {
    Id: record.id,
    Names: [`/${record.name}`],
    Image: image,
    ImageID: record.image.id,
    Command: commandLine(record.args),
    Created: Math.floor(record.createdAtMs / 1000),
    Ports: listPorts(record),
    ...(sizes === undefined ? {} : { SizeRw: sizes.writable, SizeRootFs: sizes.total }),
    Labels: record.config.Labels ?? {},
    State: statusOf(record.state),
    Status: statusText(record, nowMs),
    HostConfig: { NetworkMode: networkMode(record), ...(Annotations && speaks('1.46') ? { Annotations } : {}) },
    NetworkSettings: { Networks: endpointSettings(record, { shortAliases: false }) },
    Mounts: record.mounts.map(mountPoint),
  };
}

function commandLine([path = '', ...args]: readonly string[]): string {
  return [path, ...args.map((arg) => (arg.includes(' ') ? `'${arg}'` : arg))].join(' ');
}

/** The fields that clients read without looking whether they are there. */
function inspectConfig(record: ContainerRecord): ContainerConfig {
  const { Volumes, ...config } = record.config;
  const volumes = Volumes && Object.keys(Volumes).length > 0 ? Volumes : null;
  return { ...emptyConfig, Labels: {}, ...config, Volumes: volumes, Image: record.image.reference || record.image.id };
}

function appArmorProfile({ SecurityOpt }: HostConfig): string {
  return (SecurityOpt ?? []).flatMap((option) => /^apparmor[=:](.*)$/.exec(option)?.[1] ?? []).at(-1) ?? '';
}

function mountPoint(mount: ContainerRecord['mounts'][number]): MountPoint {
  const type: Mount['Type'] = mount.type;
  return {
    Type: type,
    ...(mount.name === undefined ? {} : { Name: mount.name }),
    Source: mount.source,
    Destination: mount.destination,
    ...(type === 'volume' ? { Driver: mount.driver ?? 'local' } : {}),
    Mode: mount.readOnly ? 'ro' : '',
    RW: !mount.readOnly,
    Propagation: mount.propagation ?? (type === 'bind' ? 'rprivate' : ''),
  };
}
