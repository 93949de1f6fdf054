import type { HostConfig } from '../../api-types/container.ts';
import type { IdMap } from '../../snapshot/port.ts';
import type { Controls } from './controls.ts';
import type { HardLimits } from './limits.ts';

/** What the configuration says of all containers. */
export type RuntimeSettings = {
  cgroupDriver: 'cgroupfs' | 'systemd';
  /** `userns-remap`: the ids of containers that do not ask for the host's; undefined for none. */
  idMap?: IdMap | undefined;
  /** Folders of CDI specifications, those that win last. */
  cdiDirectories: readonly string[];
  /** For containers that ask for none of the name. */
  defaultUlimits: NonNullable<HostConfig['Ulimits']>;
  defaultShmBytes: number;
  /** A profile's JSON text or `unconfined`; undefined for Docker's. */
  seccompProfile?: string | undefined;
};

export const defaultSettings: RuntimeSettings = {
  cgroupDriver: 'cgroupfs',
  cdiDirectories: ['/etc/cdi', '/var/run/cdi'],
  defaultUlimits: [],
  defaultShmBytes: 64 << 20,
};

/** What the specification needs to know of the host. */
export type HostFacts = {
  /** `CAP_…` that the engine itself holds. */
  capabilities: readonly string[];
  hardLimits: HardLimits;
  swapAccounting: boolean;
  cgroupVersion: 1 | 2;
  controls: Controls;
  cpus: number;
  /** The engine's own; without CAP_SYS_RESOURCE a container's cannot be lower. */
  oomScoreAdj: number;
  /** Loaded AppArmor profiles; undefined without AppArmor. */
  apparmor: readonly string[] | undefined;
  selinux: boolean;
  /** Recursive read-only mounts (Linux 5.12). */
  recursiveReadOnly: boolean;
  settings: RuntimeSettings;
};
