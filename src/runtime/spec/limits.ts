import { readFileSync } from 'node:fs';
import type { Resources as AskedResources, HostConfig, ThrottleDevice } from '../../api-types/container.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { statPath } from '../../kernel/files.ts';
import { FileStat, S_IFBLK, S_IFMT } from '../../kernel/stat.ts';
import type { HostFacts } from './facts.ts';
import type { BlockIo, Resources, Rlimit } from './types.ts';

/** Docker's period for --cpus, in us. */
const cpuPeriodUs = 100_000;

/**
 * cgroup limits as the runtime takes them; it translates between cgroup v1 and v2. `devices` is left to the caller. What this host's control
 * groups cannot set is left out: `checkResources` has told so when the container was made.
 */
export function resourceLimits(host: AskedResources, facts: Pick<HostFacts, 'swapAccounting' | 'controls'>): Omit<Resources, 'devices'> {
  const memory = facts.controls.memory ? memoryLimits(host, facts) : {};
  const cpu = cpuLimits(host, facts);
  const blockIO = blockIoLimits(host);
  return {
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(host.PidsLimit && facts.controls.pids ? { pids: { limit: host.PidsLimit < 0 ? -1 : host.PidsLimit } } : {}),
    ...(Object.keys(blockIO).length > 0 ? { blockIO } : {}),
  };
}

function memoryLimits(host: AskedResources, facts: Pick<HostFacts, 'swapAccounting' | 'controls'>): NonNullable<Resources['memory']> {
  const { controls } = facts;
  const { MemorySwappiness: swappiness } = host;
  return {
    ...(host.Memory ? { limit: host.Memory } : {}),
    ...(host.MemoryReservation && controls.memoryReservation ? { reservation: host.MemoryReservation } : {}),
    ...swapLimit(host, facts.swapAccounting),
    ...(host.KernelMemoryTCP && controls.kernelMemoryTcp ? { kernelTCP: host.KernelMemoryTCP } : {}),
    ...(typeof swappiness === 'number' && swappiness >= 0 && controls.swappiness ? { swappiness } : {}),
    ...(host.OomKillDisable && controls.oomKillDisable ? { disableOOMKiller: true } : {}),
  };
}

/** Memory and swap together, in bytes; as much swap as memory unless said otherwise. Left out where the kernel does not count swap. */
function swapLimit(host: AskedResources, accounting: boolean): { swap?: number } {
  if (!accounting || !host.Memory) return {};
  return { swap: host.MemorySwap ? host.MemorySwap : host.Memory * 2 };
}

function cpuLimits(host: AskedResources, { controls }: Pick<HostFacts, 'controls'>): NonNullable<Resources['cpu']> {
  const quota = host.NanoCpus
    ? { period: cpuPeriodUs, quota: Math.round((host.NanoCpus * cpuPeriodUs) / 1e9) }
    : { ...(host.CpuPeriod ? { period: host.CpuPeriod } : {}), ...(host.CpuQuota ? { quota: host.CpuQuota } : {}) };
  return {
    ...(host.CpuShares && controls.cpuShares ? { shares: host.CpuShares } : {}),
    ...(controls.cpuQuota ? quota : {}),
    ...(host.CpuRealtimePeriod && controls.cpuRealtime ? { realtimePeriod: host.CpuRealtimePeriod } : {}),
    ...(host.CpuRealtimeRuntime && controls.cpuRealtime ? { realtimeRuntime: host.CpuRealtimeRuntime } : {}),
    ...(host.CpusetCpus && controls.cpuset ? { cpus: host.CpusetCpus } : {}),
    ...(host.CpusetMems && controls.cpuset ? { mems: host.CpusetMems } : {}),
  };
}

/** InvalidArgument `DEVICE_NOT_FOUND` for a path that is no device of this host. */
export function blockIoLimits(host: AskedResources): BlockIo {
  const rates = (devices: readonly ThrottleDevice[] | null | undefined) =>
    (devices ?? []).map(({ Path, Rate }) => ({ ...blockDevice(Path), rate: Rate }));
  const throttles = {
    throttleReadBpsDevice: rates(host.BlkioDeviceReadBps),
    throttleWriteBpsDevice: rates(host.BlkioDeviceWriteBps),
    throttleReadIOPSDevice: rates(host.BlkioDeviceReadIOps),
    throttleWriteIOPSDevice: rates(host.BlkioDeviceWriteIOps),
  };
  const weightDevice = (host.BlkioWeightDevice ?? []).map(({ Path, Weight }) => ({ ...blockDevice(Path), weight: Weight }));
  return {
    ...(host.BlkioWeight ? { weight: host.BlkioWeight } : {}),
    ...(weightDevice.length > 0 ? { weightDevice } : {}),
    ...Object.fromEntries(Object.entries(throttles).filter(([, list]) => list.length > 0)),
  };
}

function blockDevice(path: string): { major: number; minor: number } {
  try {
    const stats = statPath(path, new FileStat(), { follow: true });
    if ((stats.mode & S_IFMT) === S_IFBLK) return { major: stats.rdevMajor, minor: stats.rdevMinor };
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new EngineError('InvalidArgument', 'DEVICE_NOT_FOUND', `stat ${path}: no such file or directory`);
  }
  throw new EngineError('InvalidArgument', 'DEVICE_NOT_FOUND', `${path} is not a block device`);
}

const limitNames: Record<string, string> = {
  core: 'Max core file size',
  cpu: 'Max cpu time',
  data: 'Max data size',
  fsize: 'Max file size',
  locks: 'Max file locks',
  memlock: 'Max locked memory',
  msgqueue: 'Max msgqueue size',
  nice: 'Max nice priority',
  nofile: 'Max open files',
  nproc: 'Max processes',
  rss: 'Max resident set',
  rtprio: 'Max realtime priority',
  rttime: 'Max realtime timeout',
  sigpending: 'Max pending signals',
  stack: 'Max stack size',
};

export type HardLimits = ReadonlyMap<string, number>;

/** This process's hard limits by ulimit name (`nofile`); Infinity for none. */
export function ownHardLimits(text = readFileSync('/proc/self/limits', 'latin1')): HardLimits {
  return new Map(
    Object.entries(limitNames).map(([name, title]) => {
      const value = new RegExp(`^${title}\\s+\\S+\\s+(\\S+)`, 'm').exec(text)?.[1];
      return [name, value === undefined || value === 'unlimited' ? Number.POSITIVE_INFINITY : Number(value)];
    }),
  );
}

/**
 * --ulimit as POSIX rlimits. Without CAP_SYS_RESOURCE nothing can go over the engine's own hard limit, so it is cut to that, and the
 * caller is told. Infinity stands for no limit; `encodeSpec` writes it. `defaults` are the configuration's, for names that are not asked.
 */
export function rlimits(
  ulimits: HostConfig['Ulimits'],
  own: HardLimits,
  mayRaise: boolean,
  defaults: NonNullable<HostConfig['Ulimits']> = [],
): { rlimits: Rlimit[]; warnings: string[] } {
  const warnings: string[] = [];
  const asked = ulimits ?? [];
  const others = defaults.filter(({ Name }) => !asked.some((ulimit) => ulimit.Name === Name));
  const result = [...asked, ...others].map(({ Name, Soft, Hard }) => {
    const ceiling = mayRaise ? Number.POSITIVE_INFINITY : (own.get(Name) ?? Number.POSITIVE_INFINITY);
    const [wantedSoft, wantedHard] = [toLimit(Soft), toLimit(Hard)];
    const [soft, hard] = [Math.min(wantedSoft, ceiling), Math.min(wantedHard, ceiling)];
    if (soft !== wantedSoft || hard !== wantedHard) warnings.push(`ulimit ${Name} was cut to the engine's own hard limit, ${ceiling}`);
    return { type: `RLIMIT_${Name.toUpperCase()}`, soft, hard };
  });
  return { rlimits: result, warnings };
}

const toLimit = (value: number) => (value < 0 ? Number.POSITIVE_INFINITY : value);

/** InvalidArgument for an unknown name or a soft limit over the hard one. */
export function checkUlimits(ulimits: HostConfig['Ulimits']): void {
  for (const { Name, Soft, Hard } of ulimits ?? []) {
    if (!Object.hasOwn(limitNames, Name)) throw new EngineError('InvalidArgument', 'ULIMIT_INVALID', `invalid ulimit type: ${Name}`);
    if (toLimit(Soft) > toLimit(Hard)) {
      throw new EngineError('InvalidArgument', 'ULIMIT_INVALID', `ulimit ${Name}: soft limit ${Soft} is greater than hard limit ${Hard}`);
    }
  }
}
