import type { ContainerSummary } from './container-inspect.ts';
import type { ImageSummary } from './image.ts';
import type { VolumeResource } from './volume.ts';

/** The newest and the oldest version of the Docker Engine API that the daemon speaks. */
export const apiVersion = '1.50';
export const minApiVersion = '1.24';

/** GET /version. */
export type VersionResponse = {
  Platform: { Name: string };
  Components: { Name: string; Version: string; Details?: Record<string, string> }[];
  Version: string;
  ApiVersion: string;
  MinAPIVersion: string;
  GitCommit: string;
  GoVersion: string;
  Os: string;
  Arch: string;
  KernelVersion: string;
  Experimental?: boolean;
  BuildTime: string;
};

/** GET /info: the fields that clients read. Sizes in bytes. */
export type InfoResponse = {
  ID: string;
  Containers: number;
  ContainersRunning: number;
  ContainersPaused: number;
  ContainersStopped: number;
  Images: number;
  Driver: string;
  DriverStatus: [string, string][];
  Plugins: { Volume: string[]; Network: string[]; Authorization: string[] | null; Log: string[] };
  MemoryLimit: boolean;
  SwapLimit: boolean;
  KernelMemoryTCP?: boolean;
  CpuCfsPeriod: boolean;
  CpuCfsQuota: boolean;
  CPUShares: boolean;
  CPUSet: boolean;
  PidsLimit: boolean;
  IPv4Forwarding: boolean;
  Debug: boolean;
  NFd: number;
  OomKillDisable: boolean;
  NGoroutines: number;
  SystemTime: string;
  LoggingDriver: string;
  CgroupDriver: string;
  CgroupVersion: string;
  NEventsListener: number;
  KernelVersion: string;
  OperatingSystem: string;
  OSVersion: string;
  OSType: string;
  Architecture: string;
  /** Always false, and gone since 1.50. */
  BridgeNfIptables?: boolean;
  BridgeNfIp6tables?: boolean;
  IndexServerAddress: string;
  RegistryConfig: Record<string, unknown>;
  NCPU: number;
  MemTotal: number;
  GenericResources: null;
  DockerRootDir: string;
  HttpProxy: string;
  HttpsProxy: string;
  NoProxy: string;
  Name: string;
  Labels: string[];
  ExperimentalBuild: boolean;
  ServerVersion: string;
  Runtimes: Record<string, { path: string; runtimeArgs?: string[] }>;
  DefaultRuntime: string;
  Swarm: { NodeID: string; NodeAddr: string; LocalNodeState: 'inactive'; ControlAvailable: false; Error: string; RemoteManagers: null };
  LiveRestoreEnabled: boolean;
  Isolation: string;
  InitBinary: string;
  /** `Expected` is gone since 1.49. */
  ContainerdCommit: { ID: string; Expected?: string };
  RuncCommit: { ID: string; Expected?: string };
  InitCommit: { ID: string; Expected?: string };
  SecurityOptions: string[];
  CDISpecDirs: string[];
  Warnings: string[] | null;
};

/** GET /system/df; null is what was not asked for. */
export type DiskUsageResponse = {
  LayersSize: number;
  Images: ImageSummary[] | null;
  Containers: ContainerSummary[] | null;
  Volumes: VolumeResource[] | null;
  BuildCache: never[] | null;
  BuilderSize?: number;
};

export type ContainersPruneResponse = { ContainersDeleted: string[] | null; SpaceReclaimed: number };
export type NetworksPruneResponse = { NetworksDeleted: string[] | null };
export type VolumesPruneResponse = { VolumesDeleted: string[] | null; SpaceReclaimed: number };
export type BuildPruneResponse = { CachesDeleted: string[] | null; SpaceReclaimed: number };
