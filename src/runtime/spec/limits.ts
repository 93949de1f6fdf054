import { readFileSync } from 'node:fs';
import type { HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { Resources, Rlimit } from './types.ts';

/** Docker's period for --cpus, in us. */
const cpuPeriodUs = 100_000;

/** cgroup limits as the runtime takes them; it translates between cgroup v1 and v2. `devices` is left to the caller. */
export function resourceLimits(host: HostConfig, options: { swapAccounting: boolean }): Omit<Resources, 'devices'> {
  const cpu = {
    ...(host.CpuShares ? { shares: host.CpuShares } : {}),
    ...(host.NanoCpus
      ? { period: cpuPeriodUs, quota: Math.round((host.NanoCpus * cpuPeriodUs) / 1e9) }
      : { ...(host.CpuPeriod ? { period: host.CpuPeriod } : {}), ...(host.CpuQuota ? { quota: host.CpuQuota } : {}) }),
    ...(host.CpusetCpus ? { cpus: host.CpusetCpus } : {}),
    ...(host.CpusetMems ? { mems: host.CpusetMems } : {}),
  };
  const memory = {
    ...(host.Memory ? { limit: host.Memory } : {}),
    ...(host.MemoryReservation ? { reservation: host.MemoryReservation } : {}),
    ...swapLimit(host, options.swapAccounting),
    ...(typeof host.MemorySwappiness === 'number' && host.MemorySwappiness >= 0 ? { swappiness: host.MemorySwappiness } : {}),
    ...(host.OomKillDisable ? { disableOOMKiller: true } : {}),
  };
  return {
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(host.PidsLimit && host.PidsLimit !== 0 ? { pids: { limit: host.PidsLimit } } : {}),
  };
}

/** Memory and swap together, in bytes; as much swap as memory unless said otherwise. Left out where the kernel does not count swap. */
function swapLimit(host: HostConfig, accounting: boolean): { swap?: number } {
  if (!accounting || !host.Memory) return {};
  return { swap: host.MemorySwap ? host.MemorySwap : host.Memory * 2 };
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
 * caller is told. Infinity stands for no limit; `encodeSpec` writes it.
 */
export function rlimits(ulimits: HostConfig['Ulimits'], own: HardLimits, mayRaise: boolean): { rlimits: Rlimit[]; warnings: string[] } {
  const warnings: string[] = [];
  const result = (ulimits ?? []).map(({ Name, Soft, Hard }) => {
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
    if (!(Name in limitNames)) throw new EngineError('InvalidArgument', 'ULIMIT_INVALID', `invalid ulimit type: ${Name}`);
    if (toLimit(Soft) > toLimit(Hard)) {
      throw new EngineError('InvalidArgument', 'ULIMIT_INVALID', `ulimit ${Name}: soft limit ${Soft} is greater than hard limit ${Hard}`);
    }
  }
}
