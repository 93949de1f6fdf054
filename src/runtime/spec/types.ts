/** The OCI runtime specification's config.json (config.md, config-linux.md), the parts that the engine writes. Sizes in bytes. */
export type RuntimeSpec = {
  ociVersion: string;
  process: ProcessSpec;
  root: { path: string; readonly: boolean };
  hostname?: string;
  domainname?: string;
  mounts: SpecMount[];
  hooks?: Hooks;
  annotations?: Record<string, string>;
  linux: LinuxSpec;
};

export type ProcessSpec = {
  terminal: boolean;
  consoleSize?: { height: number; width: number };
  user: { uid: number; gid: number; additionalGids?: number[]; umask?: number };
  args: string[];
  env: string[];
  cwd: string;
  capabilities: { bounding: string[]; effective: string[]; permitted: string[]; inheritable: string[]; ambient: string[] };
  rlimits?: Rlimit[];
  noNewPrivileges: boolean;
  apparmorProfile?: string;
  selinuxLabel?: string;
  oomScoreAdj?: number;
};

export type Rlimit = { type: string; soft: number; hard: number };

export type SpecMount = { destination: string; type: string; source: string; options: string[] };

export type NamespaceType = 'pid' | 'network' | 'ipc' | 'uts' | 'mount' | 'cgroup' | 'user';

/** Without `major` or `minor`: any. */
export type DeviceRule = { allow: boolean; type?: 'a' | 'b' | 'c'; major?: number; minor?: number; access: string };

export type Device = {
  path: string;
  type: 'b' | 'c' | 'u' | 'p';
  major: number;
  minor: number;
  fileMode?: number;
  uid?: number;
  gid?: number;
};

/** `timeout` in seconds. */
export type Hook = { path: string; args?: string[]; env?: string[]; timeout?: number };
export const hookNames = ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'] as const;
export type HookName = (typeof hookNames)[number];
export type Hooks = Partial<Record<HookName, Hook[]>>;

export type IntelRdt = {
  closID?: string;
  l3CacheSchema?: string;
  memBwSchema?: string;
  enableMonitoring?: boolean;
  schemata?: string[];
};

/** `rate` in bytes or operations a second. */
export type DeviceRate = { major: number; minor: number; rate: number };
export type BlockIo = {
  weight?: number;
  weightDevice?: { major: number; minor: number; weight: number }[];
  throttleReadBpsDevice?: DeviceRate[];
  throttleWriteBpsDevice?: DeviceRate[];
  throttleReadIOPSDevice?: DeviceRate[];
  throttleWriteIOPSDevice?: DeviceRate[];
};

/** In the units of cgroup v1 whatever the host has: runtimes translate. Times in us. */
export type Resources = {
  devices: DeviceRule[];
  memory?: { limit?: number; reservation?: number; swap?: number; kernelTCP?: number; swappiness?: number; disableOOMKiller?: boolean };
  cpu?: {
    shares?: number;
    quota?: number;
    period?: number;
    realtimeRuntime?: number;
    realtimePeriod?: number;
    cpus?: string;
    mems?: string;
  };
  pids?: { limit: number };
  blockIO?: BlockIo;
};

export type SpecIdRange = { containerID: number; hostID: number; size: number };

export type LinuxSpec = {
  namespaces: { type: NamespaceType; path?: string }[];
  uidMappings?: SpecIdRange[];
  gidMappings?: SpecIdRange[];
  devices: Device[];
  netDevices?: Record<string, { name: string }>;
  cgroupsPath: string;
  resources: Resources;
  sysctl?: Record<string, string>;
  seccomp?: Seccomp;
  rootfsPropagation?: string;
  maskedPaths: string[];
  readonlyPaths: string[];
  intelRdt?: IntelRdt;
};

/** config-linux.md, "Seccomp". Numbers beyond 2^53 are raw JSON. */
export type Seccomp = {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  flags?: string[];
  listenerPath?: string;
  listenerMetadata?: string;
  syscalls: SeccompRule[];
};

export type SeccompRule = {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[];
};
