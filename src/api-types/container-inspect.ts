import type { ContainerConfig, HostConfig, Mount } from './container.ts';

/** `docker ps` states. */
export type ContainerStatus = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

/** A host port as listings show it. */
export type Port = { IP?: string; PrivatePort: number; PublicPort?: number; Type: 'tcp' | 'udp' };

export type EndpointSettings = {
  IPAMConfig: { IPv4Address?: string; IPv6Address?: string } | null;
  Links: string[] | null;
  Aliases: string[] | null;
  MacAddress: string;
  NetworkID: string;
  EndpointID: string;
  Gateway: string;
  IPAddress: string;
  IPPrefixLen: number;
  IPv6Gateway: string;
  GlobalIPv6Address: string;
  GlobalIPv6PrefixLen: number;
  DriverOpts: Record<string, string> | null;
  DNSNames: string[] | null;
  GwPriority: number;
};

export type MountPoint = {
  Type: Mount['Type'];
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
};

/** One row of GET /containers/json. `Created` in seconds. */
export type ContainerSummary = {
  Id: string;
  Names: string[];
  Image: string;
  ImageID: string;
  Command: string;
  Created: number;
  Ports: Port[];
  Labels: Record<string, string>;
  State: ContainerStatus;
  Status: string;
  HostConfig: { NetworkMode: string; Annotations?: Record<string, string> };
  NetworkSettings: { Networks: Record<string, EndpointSettings> };
  Mounts: MountPoint[];
  SizeRw?: number;
  SizeRootFs?: number;
};

/** `Output` holds at most 4,096 bytes; `Log` the last five probes. */
export type Health = {
  Status: 'none' | 'starting' | 'healthy' | 'unhealthy';
  FailingStreak: number;
  Log: { Start: string; End: string; ExitCode: number; Output: string }[] | null;
};

/** Times are RFC 3339 with nanoseconds; `0001-01-01T00:00:00Z` means never. */
export type ContainerInspectState = {
  Status: ContainerStatus;
  Running: boolean;
  Paused: boolean;
  Restarting: boolean;
  OOMKilled: boolean;
  Dead: boolean;
  Pid: number;
  ExitCode: number;
  Error: string;
  StartedAt: string;
  FinishedAt: string;
  Health?: Health;
};

export type NetworkSettings = {
  Bridge: string;
  SandboxID: string;
  SandboxKey: string;
  HairpinMode: boolean;
  LinkLocalIPv6Address: string;
  LinkLocalIPv6PrefixLen: number;
  SecondaryIPAddresses: null;
  SecondaryIPv6Addresses: null;
  EndpointID: string;
  Gateway: string;
  GlobalIPv6Address: string;
  GlobalIPv6PrefixLen: number;
  IPAddress: string;
  IPPrefixLen: number;
  IPv6Gateway: string;
  MacAddress: string;
  Ports: Record<string, { HostIp: string; HostPort: string }[] | null>;
  Networks: Record<string, EndpointSettings>;
};

/** GET /containers/{name}/json. */
export type ContainerInspect = {
  Id: string;
  Created: string;
  Path: string;
  Args: string[];
  State: ContainerInspectState;
  Image: string;
  ResolvConfPath: string;
  HostnamePath: string;
  HostsPath: string;
  LogPath: string;
  Name: string;
  RestartCount: number;
  Driver: string;
  Platform: string;
  MountLabel: string;
  ProcessLabel: string;
  AppArmorProfile: string;
  ExecIDs: string[] | null;
  HostConfig: HostConfig;
  GraphDriver: { Name: string; Data: Record<string, string> | null };
  Mounts: MountPoint[];
  Config: ContainerConfig;
  NetworkSettings: NetworkSettings;
  SizeRw?: number;
  SizeRootFs?: number;
};

export type CreateContainerResponse = { Id: string; Warnings: string[] };

/** Answer to POST /containers/{name}/update. */
export type UpdateResponse = { Warnings: string[] | null };

/** Body of POST /containers/{name}/wait. */
export type WaitResponse = { StatusCode: number; Error?: { Message: string } };

/** Body of POST /containers/{name}/exec. */
export type ExecCreateRequest = {
  AttachStdin?: boolean;
  AttachStdout?: boolean;
  AttachStderr?: boolean;
  DetachKeys?: string;
  Tty?: boolean;
  Env?: string[] | null;
  Cmd?: string[] | null;
  Privileged?: boolean;
  User?: string;
  WorkingDir?: string;
  ConsoleSize?: number[] | null;
};

/** Body of POST /exec/{id}/start. `ConsoleSize` is rows, columns. */
export type ExecStartRequest = { Detach?: boolean; Tty?: boolean; ConsoleSize?: number[] | null };

/** GET /exec/{id}/json. */
export type ExecInspect = {
  ID: string;
  Running: boolean;
  ExitCode: number | null;
  ProcessConfig: { tty: boolean; entrypoint: string; arguments: string[]; privileged: boolean; user?: string };
  OpenStdin: boolean;
  OpenStderr: boolean;
  OpenStdout: boolean;
  CanRemove: boolean;
  ContainerID: string;
  DetachKeys: string;
  Pid: number;
};

export type TopResponse = { Titles: string[]; Processes: string[][] };

/** A row of GET /containers/{name}/changes. Kind: 0 modified, 1 added, 2 deleted. */
export type FilesystemChange = { Path: string; Kind: 0 | 1 | 2 };

/** What the `X-Docker-Container-Path-Stat` header holds, as base64 of JSON. `mode` is Go's os.FileMode. */
export type ContainerPathStat = { name: string; size: number; mode: number; mtime: string; linkTarget: string };
