import type { CreateContainerRequest } from '../../api-types/container.ts';
import type { ExecCreateRequest, ExecStartRequest } from '../../api-types/container-inspect.ts';
import {
  boolean,
  type Check,
  emptyObject,
  integer,
  isPlainObject,
  list,
  nullable,
  object,
  oneOf,
  record,
  requireField,
  string,
  stringOrList,
  unknownFields,
} from '../decode.ts';
import { invalid } from '../errors.ts';

/** Bodies of the container and exec routes (Docker Engine API, ContainerConfig, HostConfig, NetworkingConfig). */

const labels = record(string);
const emptyObjects = record(emptyObject);

const healthcheck = object({
  Test: list(string),
  Interval: integer,
  Timeout: integer,
  StartPeriod: integer,
  StartInterval: integer,
  Retries: integer,
});

const containerConfig = {
  Hostname: string,
  Domainname: string,
  User: string,
  AttachStdin: boolean,
  AttachStdout: boolean,
  AttachStderr: boolean,
  ExposedPorts: emptyObjects,
  Tty: boolean,
  OpenStdin: boolean,
  StdinOnce: boolean,
  Env: list(string),
  Cmd: stringOrList,
  Healthcheck: healthcheck,
  Image: string,
  Volumes: emptyObjects,
  WorkingDir: string,
  Entrypoint: stringOrList,
  NetworkDisabled: boolean,
  MacAddress: string,
  Labels: labels,
  StopSignal: string,
  StopTimeout: integer,
  Shell: list(string),
};

/** A published port's number may come as a number from old clients. */
const portText: Check<string> = (value, field) => (typeof value === 'number' ? String(value) : string(value, field));

const mount: Check<ReturnType<typeof mountFields> & { Type: 'bind' | 'volume' | 'tmpfs'; Target: string }> = (value, field) => {
  const mount = mountFields(value, field);
  return { ...mount, Type: requireField(mount.Type, `${field}.Type`), Target: requireField(mount.Target, `${field}.Target`) };
};
const mountFields = object({
  Type: oneOf('bind', 'volume', 'tmpfs'),
  Source: string,
  Target: string,
  ReadOnly: boolean,
  Consistency: string,
  BindOptions: object({ Propagation: string, NonRecursive: boolean, CreateMountpoint: boolean }),
  VolumeOptions: object({
    NoCopy: boolean,
    Labels: labels,
    DriverConfig: object({ Name: string, Options: record(string) }),
    Subpath: string,
  }),
  TmpfsOptions: object({ SizeBytes: integer, Mode: integer }),
});

const device: Check<{ PathOnHost: string; PathInContainer: string; CgroupPermissions: string }> = (value, field) => {
  const given = object({ PathOnHost: string, PathInContainer: string, CgroupPermissions: string })(value, field);
  const path = requireField(given.PathOnHost, `${field}.PathOnHost`);
  return { PathOnHost: path, PathInContainer: given.PathInContainer ?? path, CgroupPermissions: given.CgroupPermissions ?? 'rwm' };
};

const ulimit: Check<{ Name: string; Soft: number; Hard: number }> = (value, field) => {
  const given = object({ Name: string, Soft: integer, Hard: integer })(value, field);
  return { Name: requireField(given.Name, `${field}.Name`), Soft: given.Soft ?? 0, Hard: given.Hard ?? 0 };
};

const hostConfig = {
  Binds: list(string),
  ContainerIDFile: string,
  LogConfig: object({ Type: string, Config: record(string) }),
  NetworkMode: string,
  PortBindings: record(nullable(list(object({ HostIp: string, HostPort: portText })))),
  RestartPolicy: object({ Name: oneOf('', 'no', 'always', 'unless-stopped', 'on-failure'), MaximumRetryCount: integer }),
  AutoRemove: boolean,
  VolumeDriver: string,
  VolumesFrom: list(string),
  Mounts: list(mount),
  CapAdd: list(string),
  CapDrop: list(string),
  CgroupnsMode: string,
  Dns: list(string),
  DnsOptions: list(string),
  DnsSearch: list(string),
  ExtraHosts: list(string),
  GroupAdd: list(string),
  IpcMode: string,
  Cgroup: string,
  OomScoreAdj: integer,
  PidMode: string,
  Privileged: boolean,
  PublishAllPorts: boolean,
  ReadonlyRootfs: boolean,
  SecurityOpt: list(string),
  Tmpfs: record(string),
  UTSMode: string,
  UsernsMode: string,
  ShmSize: integer,
  Sysctls: record(string),
  Runtime: string,
  Init: boolean,
  CpuShares: integer,
  Memory: integer,
  NanoCpus: integer,
  CgroupParent: string,
  CpuPeriod: integer,
  CpuQuota: integer,
  CpusetCpus: string,
  CpusetMems: string,
  Devices: list(device),
  MemoryReservation: integer,
  MemorySwap: integer,
  MemorySwappiness: integer,
  OomKillDisable: boolean,
  PidsLimit: integer,
  Ulimits: list(ulimit),
  MaskedPaths: list(string),
  ReadonlyPaths: list(string),
};

const networkingConfig = object({
  EndpointsConfig: record(nullable(object({ Aliases: list(string), IPAMConfig: object({ IPv4Address: string }), MacAddress: string }))),
});

/** Fields that say nothing for a Linux container, or that the client's own side uses. */
const harmless = new Set(['ConsoleSize', 'Isolation', 'OnBuild', 'ArgsEscaped', 'Annotations', 'MemorySwappiness']);

const createFields = object({ ...containerConfig, HostConfig: object(hostConfig), NetworkingConfig: networkingConfig });

export const createContainer: Check<CreateContainerRequest> = (value, field) => {
  const request = createFields(value, field);
  const memory = request.HostConfig?.Memory ?? 0;
  if (memory < 0) throw invalid('FIELD_INVALID', `HostConfig.Memory is ${memory}; expected bytes, or 0 for no limit`);
  return request;
};

/** Warnings for fields that would otherwise be ignored in silence. */
export function ignoredFields(body: unknown): string[] {
  if (!isPlainObject(body)) return [];
  return unknownFields(body.HostConfig, hostConfig)
    .filter((name) => !harmless.has(name))
    .map((name) => `HostConfig.${name} is not supported and has no effect`);
}

export const execCreate: Check<ExecCreateRequest> = object({
  AttachStdin: boolean,
  AttachStdout: boolean,
  AttachStderr: boolean,
  DetachKeys: string,
  Tty: boolean,
  Env: list(string),
  Cmd: list(string),
  Privileged: boolean,
  User: string,
  WorkingDir: string,
  ConsoleSize: list(integer),
});

export const execStart: Check<ExecStartRequest> = object({ Detach: boolean, Tty: boolean, ConsoleSize: list(integer) });
