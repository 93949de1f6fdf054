import type { BootstrapRequest, SlipwayDf } from '../api-types/own.ts';
import type { BuildCacheMounts } from '../build/cache/port.ts';
import type { Builder, BuildRecords } from '../build/port.ts';
import type { BuildKit } from '../buildkit/port.ts';
import type { Collector } from '../gc/port.ts';
import type { LogReader } from '../logging/port.ts';
import type { Networks } from '../network/port.ts';
import type { Containers } from '../runtime/port.ts';
import type { Snapshotter } from '../snapshot/port.ts';
import type { ImageRecord, Jobs, Store } from '../store/port.ts';
import type { Archives, SearchImages, Transfers } from '../transport/port.ts';
import type { Registries } from '../transport/registry/port.ts';
import type { Volumes } from '../volumes/port.ts';
import type { EventBus } from './event-bus.ts';

/** What the engine says of itself; gathered once at start. */
export type EngineInfo = {
  version: string;
  gitCommit: string;
  /** Stable for a root: what `docker info` shows as ID. */
  id: string;
  root: string;
  snapshotter: string;
  runtimes: Record<string, { path: string; args?: readonly string[] | undefined }>;
  defaultRuntime: string;
  cgroupVersion: '1' | '2';
  cgroupDriver: 'cgroupfs' | 'systemd';
  /** Folders of CDI specifications. */
  cdiDirs: readonly string[];
  /** Profile of containers that name none: `builtin`, `unconfined` or a path. */
  seccompProfile: string;
  /** Containers have a user namespace unless they say otherwise. */
  usernsRemap: boolean;
  /** Init program for containers; undefined when there is none. */
  initPath: string | undefined;
  /** Names, in the order in which they are asked. */
  authorizationPlugins: readonly string[];
  monitorPath: string;
  /** Of registries that are configured, by host; or by a range of addresses, which are insecure. */
  registries: Readonly<Record<string, { mirrors: readonly string[]; insecure: boolean }>>;
  debug: boolean;
  startedAtMs: number;
};

/** Where a container's own files lie, for inspect. Host paths. `netns`: its network namespace, while it has one. */
export type ContainerPaths = (id: string) => { hosts: string; hostname: string; resolvConf: string; log: string; netns?: string };

/** Everything the routes call. The composition root makes it; tests make it of fakes. */
export type Services = {
  store: Pick<Store, 'images' | 'leases' | 'trees' | 'uses'>;
  containers: Containers;
  snapshotter: Pick<Snapshotter, 'name' | 'capture' | 'changes'>;
  jobs: Jobs;
  logs: LogReader;
  builder: Builder;
  builds: BuildRecords;
  /** Undefined where steps have no caches of their own. */
  buildCaches?: BuildCacheMounts | undefined;
  /** Undefined where BuildKit's protocol is not served: clients then use the classic builder. */
  buildkit?: BuildKit | undefined;
  archives: Archives;
  registries: Pick<Registries, 'login'>;
  transfers: Transfers;
  searchImages: SearchImages;
  networks: Networks;
  volumes: Volumes;
  collector: Collector;
  events: EventBus;
  info: EngineInfo;
  containerPaths: ContainerPaths;
  bootstrap(
    request: BootstrapRequest,
    options: { onProgress: (message: string) => void; signal: AbortSignal },
  ): Promise<{ image: ImageRecord; cached: boolean }>;
  hostReport(): Promise<unknown>;
  diskUsage(): Promise<SlipwayDf>;
  /** What a container wrote into its root, in bytes of blocks. */
  writableBytes(containerId: string): Promise<number>;
  /** A folder for uploads, emptied at each start. */
  tmpDir: string;
  /** Aborts when the daemon shuts down: streams end. */
  shutdown: AbortSignal;
};
