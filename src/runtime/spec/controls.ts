import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { listMounts, type MountInfo } from '../../kernel/mount.ts';

/** Which limits the control groups of this host can set. */
export type Controls = {
  memory: boolean;
  memoryReservation: boolean;
  swappiness: boolean;
  oomKillDisable: boolean;
  kernelMemoryTcp: boolean;
  pids: boolean;
  cpuShares: boolean;
  cpuQuota: boolean;
  cpuRealtime: boolean;
  /** Processors and memory nodes that there are, as lists (`0-3,7`); undefined without the controller. */
  cpuset: { cpus: string; mems: string } | undefined;
  ioWeight: boolean;
  ioWeightDevice: boolean;
  ioReadBytes: boolean;
  ioWriteBytes: boolean;
  ioReadOperations: boolean;
  ioWriteOperations: boolean;
  cgroupNamespaces: boolean;
};

/** Reads what is mounted. On hybrid hosts the controllers are those of version 1. */
export function readControls(mounts: readonly MountInfo[] = listMounts()): Controls {
  const legacy = mounts.filter(({ type }) => type === 'cgroup');
  const at = (controller: string) => legacy.find(({ superOptions }) => superOptions.split(',').includes(controller))?.mountPoint;
  const unified = mounts.find(({ type }) => type === 'cgroup2');
  const withControllers = ['memory', 'cpu', 'pids', 'blkio', 'cpuset'].some((name) => at(name) !== undefined);
  const cgroupNamespaces = existsSync('/proc/self/ns/cgroup');
  if (!withControllers && unified) return { ...unifiedControls(unified.mountPoint), cgroupNamespaces };
  return { ...legacyControls(at), cgroupNamespaces };
}

function legacyControls(at: (controller: string) => string | undefined): Omit<Controls, 'cgroupNamespaces'> {
  const has = (controller: string, file: string) => {
    const directory = at(controller);
    return directory !== undefined && existsSync(join(directory, file));
  };
  const cpuset = at('cpuset');
  return {
    memory: has('memory', 'memory.limit_in_bytes'),
    memoryReservation: has('memory', 'memory.soft_limit_in_bytes'),
    swappiness: has('memory', 'memory.swappiness'),
    oomKillDisable: has('memory', 'memory.oom_control'),
    kernelMemoryTcp: has('memory', 'memory.kmem.tcp.limit_in_bytes'),
    pids: at('pids') !== undefined,
    cpuShares: has('cpu', 'cpu.shares'),
    cpuQuota: has('cpu', 'cpu.cfs_quota_us'),
    cpuRealtime: has('cpu', 'cpu.rt_runtime_us'),
    cpuset: cpuset === undefined ? undefined : { cpus: read(join(cpuset, 'cpuset.cpus')), mems: read(join(cpuset, 'cpuset.mems')) },
    // BFQ's own files, blkio.bfq.*, are nothing that every runtime knows.
    ioWeight: has('blkio', 'blkio.weight'),
    ioWeightDevice: has('blkio', 'blkio.weight_device'),
    ioReadBytes: has('blkio', 'blkio.throttle.read_bps_device'),
    ioWriteBytes: has('blkio', 'blkio.throttle.write_bps_device'),
    ioReadOperations: has('blkio', 'blkio.throttle.read_iops_device'),
    ioWriteOperations: has('blkio', 'blkio.throttle.write_iops_device'),
  };
}

function unifiedControls(root: string): Omit<Controls, 'cgroupNamespaces'> {
  const controllers = read(join(root, 'cgroup.controllers')).split(' ');
  const has = (name: string) => controllers.includes(name);
  // Limits' files are in every group but the root; where there is none yet, the controller is trusted to bring them.
  const groups = children(root);
  const below = (controller: string, ...files: string[]) =>
    has(controller) && (groups.length === 0 || groups.some((path) => files.some((file) => existsSync(join(path, file)))));
  const weight = below('io', 'io.weight', 'io.bfq.weight');
  return {
    memory: has('memory'),
    memoryReservation: has('memory'),
    swappiness: false,
    oomKillDisable: false,
    kernelMemoryTcp: false,
    pids: has('pids'),
    cpuShares: has('cpu'),
    cpuQuota: has('cpu'),
    cpuRealtime: false,
    cpuset: has('cpuset')
      ? { cpus: read(join(root, 'cpuset.cpus.effective')), mems: read(join(root, 'cpuset.mems.effective')) }
      : undefined,
    ioWeight: weight,
    ioWeightDevice: weight,
    ioReadBytes: has('io'),
    ioWriteBytes: has('io'),
    ioReadOperations: has('io'),
    ioWriteOperations: has('io'),
  };
}

function children(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(directory, name));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}
