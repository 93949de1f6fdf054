import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';

/** What the kernel offers for limits and confinement, as GET /info tells it. */
export type HostInfo = {
  limits: Record<LimitName, boolean>;
  /** Limits of block devices, told only by warnings. */
  missingBlockLimits: string[];
  ipv4Forwarding: boolean;
  appArmor: boolean;
  seccomp: boolean;
  selinux: boolean;
  cgroupNamespaces: boolean;
  operatingSystem: string;
  osVersion: string;
};
export type LimitName =
  | 'MemoryLimit'
  | 'SwapLimit'
  | 'KernelMemoryTCP'
  | 'CpuCfsPeriod'
  | 'CpuCfsQuota'
  | 'CPUShares'
  | 'CPUSet'
  | 'PidsLimit'
  | 'OomKillDisable';

const root = '/sys/fs/cgroup';

/** Read anew each time: modules come and go, and so do settings. */
export async function readHostInfo(cgroupVersion: '1' | '2'): Promise<HostInfo> {
  const [cgroup, forwarding, appArmor, status, selinux, cgroupNamespaces, release] = await Promise.all([
    cgroupVersion === '2' ? unifiedLimits() : separateLimits(),
    text('/proc/sys/net/ipv4/ip_forward'),
    text('/sys/module/apparmor/parameters/enabled'),
    text('/proc/self/status'),
    exists('/sys/fs/selinux/enforce'),
    exists('/proc/self/ns/cgroup'),
    text('/etc/os-release'),
  ]);
  const field = (key: string) => new RegExp(`^${key}="?([^"\\n]*)"?$`, 'm').exec(release)?.[1] ?? '';
  return {
    ...cgroup,
    ipv4Forwarding: forwarding.trim() === '1',
    appArmor: appArmor.startsWith('Y'),
    seccomp: /^Seccomp:/m.test(status),
    selinux,
    cgroupNamespaces,
    operatingSystem: field('PRETTY_NAME') || 'Linux',
    osVersion: field('VERSION_ID'),
  };
}

type Limits = Pick<HostInfo, 'limits' | 'missingBlockLimits'>;

async function unifiedLimits(): Promise<Limits> {
  const controllers = new Set((await text(join(root, 'cgroup.controllers'))).trim().split(' '));
  const own = /^0::(.*)$/m.exec(await text('/proc/self/cgroup'))?.[1] ?? '/';
  // The root group has no limits to look at.
  const swap = own === '/' ? controllers.has('memory') : await exists(join(root, own, 'memory.swap.max'));
  const io = controllers.has('io');
  return {
    limits: {
      MemoryLimit: controllers.has('memory'),
      SwapLimit: swap,
      KernelMemoryTCP: false,
      CpuCfsPeriod: controllers.has('cpu'),
      CpuCfsQuota: controllers.has('cpu'),
      CPUShares: controllers.has('cpu'),
      CPUSet: controllers.has('cpuset'),
      PidsLimit: controllers.has('pids'),
      OomKillDisable: false,
    },
    missingBlockLimits: io
      ? []
      : ['io.weight', 'io.weight (per device)', 'io.max (rbps)', 'io.max (wbps)', 'io.max (riops)', 'io.max (wiops)'],
  };
}

const separateFiles: Record<LimitName, string> = {
  MemoryLimit: 'memory/memory.limit_in_bytes',
  SwapLimit: 'memory/memory.memsw.limit_in_bytes',
  KernelMemoryTCP: 'memory/memory.kmem.tcp.limit_in_bytes',
  CpuCfsPeriod: 'cpu/cpu.cfs_period_us',
  CpuCfsQuota: 'cpu/cpu.cfs_quota_us',
  CPUShares: 'cpu/cpu.shares',
  CPUSet: 'cpuset/cpuset.cpus',
  PidsLimit: 'pids/cgroup.procs',
  OomKillDisable: 'memory/memory.oom_control',
};
const blockFiles = ['read_bps_device', 'write_bps_device', 'read_iops_device', 'write_iops_device'].map((name) => `blkio.throttle.${name}`);

async function separateLimits(): Promise<Limits> {
  const found = await Promise.all(
    Object.entries(separateFiles).map(async ([name, file]) => [name, await exists(join(root, file))] as const),
  );
  const block = await Promise.all(blockFiles.map(async (name) => ((await exists(join(root, 'blkio', name))) ? [] : [name])));
  return { limits: Object.fromEntries(found) as Record<LimitName, boolean>, missingBlockLimits: block.flat() };
}

async function text(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return '';
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
