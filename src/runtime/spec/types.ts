/** The OCI runtime specification's config.json (config.md, config-linux.md), the parts that the engine writes. Sizes in bytes. */
export type RuntimeSpec = {
  ociVersion: string;
  process: ProcessSpec;
  root: { path: string; readonly: boolean };
  hostname?: string;
  domainname?: string;
  mounts: SpecMount[];
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

export type DeviceRule = { allow: boolean; type?: 'a' | 'b' | 'c'; major?: number; minor?: number; access: string };

export type Device = { path: string; type: 'b' | 'c'; major: number; minor: number; fileMode: number; uid: number; gid: number };

export type Resources = {
  devices: DeviceRule[];
  memory?: { limit?: number; reservation?: number; swap?: number; swappiness?: number; disableOOMKiller?: boolean };
  cpu?: { shares?: number; quota?: number; period?: number; cpus?: string; mems?: string };
  pids?: { limit: number };
};

export type LinuxSpec = {
  namespaces: { type: NamespaceType; path?: string }[];
  devices: Device[];
  cgroupsPath: string;
  resources: Resources;
  sysctl?: Record<string, string>;
  seccomp?: Seccomp;
  rootfsPropagation?: string;
  maskedPaths: string[];
  readonlyPaths: string[];
};

/** config-linux.md, "Seccomp". */
export type Seccomp = {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  flags?: string[];
  syscalls: SeccompRule[];
};

export type SeccompRule = {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[];
};
