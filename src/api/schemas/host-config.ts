import type { UpdateRequest } from '../../api-types/container.ts';
import { boolean, type Check, integer, list, nullable, object, oneOf, record, requireField, string, unsigned } from '../decode.ts';

/** HostConfig and what it is made of (Docker Engine API, HostConfig, Resources, Mount). Types of values only; rules live in runtime/create. */

const labels = record(string);

const device: Check<{ PathOnHost: string; PathInContainer: string; CgroupPermissions: string }> = (value, field) => {
  const given = object({ PathOnHost: string, PathInContainer: string, CgroupPermissions: string })(value, field);
  const path = requireField(given.PathOnHost, `${field}.PathOnHost`);
  return { PathOnHost: path, PathInContainer: given.PathInContainer || path, CgroupPermissions: given.CgroupPermissions || 'rwm' };
};

const ulimit: Check<{ Name: string; Soft: number; Hard: number }> = (value, field) => {
  const given = object({ Name: string, Soft: integer, Hard: integer })(value, field);
  return { Name: requireField(given.Name, `${field}.Name`), Soft: given.Soft ?? 0, Hard: given.Hard ?? 0 };
};

const throttle: Check<{ Path: string; Rate: number }> = (value, field) => {
  const given = object({ Path: string, Rate: unsigned })(value, field);
  return { Path: requireField(given.Path, `${field}.Path`), Rate: given.Rate ?? 0 };
};

const weight: Check<{ Path: string; Weight: number }> = (value, field) => {
  const given = object({ Path: string, Weight: unsigned })(value, field);
  return { Path: requireField(given.Path, `${field}.Path`), Weight: given.Weight ?? 0 };
};

const resources = {
  CpuShares: integer,
  Memory: integer,
  NanoCpus: integer,
  CgroupParent: string,
  BlkioWeight: unsigned,
  BlkioWeightDevice: list(weight),
  BlkioDeviceReadBps: list(throttle),
  BlkioDeviceWriteBps: list(throttle),
  BlkioDeviceReadIOps: list(throttle),
  BlkioDeviceWriteIOps: list(throttle),
  CpuPeriod: integer,
  CpuQuota: integer,
  CpuRealtimePeriod: integer,
  CpuRealtimeRuntime: integer,
  CpusetCpus: string,
  CpusetMems: string,
  Devices: list(device),
  DeviceCgroupRules: list(string),
  DeviceRequests: list(
    object({ Driver: string, Count: integer, DeviceIDs: list(string), Capabilities: list(list(string)), Options: record(string) }),
  ),
  KernelMemory: integer,
  KernelMemoryTCP: integer,
  MemoryReservation: integer,
  MemorySwap: integer,
  MemorySwappiness: integer,
  OomKillDisable: boolean,
  PidsLimit: integer,
  Ulimits: list(ulimit),
  CpuCount: integer,
  CpuPercent: integer,
  IOMaximumIOps: unsigned,
  IOMaximumBandwidth: unsigned,
};

const restartPolicy = object({ Name: oneOf('', 'no', 'always', 'unless-stopped', 'on-failure'), MaximumRetryCount: integer });

const mountFields = object({
  Type: oneOf('bind', 'volume', 'tmpfs', 'image'),
  Source: string,
  Target: string,
  ReadOnly: boolean,
  Consistency: string,
  BindOptions: object({
    Propagation: string,
    NonRecursive: boolean,
    CreateMountpoint: boolean,
    ReadOnlyNonRecursive: boolean,
    ReadOnlyForceRecursive: boolean,
  }),
  VolumeOptions: object({
    NoCopy: boolean,
    Labels: labels,
    DriverConfig: object({ Name: string, Options: record(string) }),
    Subpath: string,
  }),
  ImageOptions: object({ Subpath: string }),
  TmpfsOptions: object({ SizeBytes: integer, Mode: integer, Options: list(list(string)) }),
});

type MountFields = ReturnType<typeof mountFields>;
const mount: Check<MountFields & { Type: 'bind' | 'volume' | 'tmpfs' | 'image'; Target: string }> = (value, field) => {
  const given = mountFields(value, field);
  return { ...given, Type: requireField(given.Type, `${field}.Type`), Target: requireField(given.Target, `${field}.Target`) };
};

/** A published port's number may come as a number from old clients. */
const portText: Check<string> = (value, field) => (typeof value === 'number' ? String(integer(value, field)) : string(value, field));

export const hostConfigFields = {
  ...resources,
  Binds: list(string),
  ContainerIDFile: string,
  LogConfig: object({ Type: string, Config: record(string) }),
  NetworkMode: string,
  PortBindings: record(nullable(list(object({ HostIp: string, HostPort: portText })))),
  RestartPolicy: restartPolicy,
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
  Links: list(string),
  GroupAdd: list(string),
  IpcMode: string,
  Cgroup: string,
  OomScoreAdj: integer,
  PidMode: string,
  Privileged: boolean,
  PublishAllPorts: boolean,
  ReadonlyRootfs: boolean,
  SecurityOpt: list(string),
  StorageOpt: record(string),
  Annotations: record(string),
  Isolation: string,
  ConsoleSize: list(unsigned),
  Tmpfs: record(string),
  UTSMode: string,
  UsernsMode: string,
  ShmSize: integer,
  Sysctls: record(string),
  Runtime: string,
  Init: boolean,
  MaskedPaths: list(string),
  ReadonlyPaths: list(string),
};

export const hostConfig = object(hostConfigFields);

const updateFields = { ...resources, RestartPolicy: restartPolicy };
export const updateContainer: Check<UpdateRequest> = object(updateFields);
export const updateFieldNames = updateFields;
