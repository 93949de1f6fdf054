import type { Resources } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { HostFacts } from '../spec/facts.ts';
import { blockIoLimits } from '../spec/limits.ts';
import { checkCpuList } from './cpu-list.ts';

type Facts = Pick<HostFacts, 'controls' | 'swapAccounting' | 'cpus'>;
type Working<T> = { resources: T; warnings: string[]; facts: Facts };

const minMemoryBytes = 6 << 20;

/**
 * Docker's checks of limits, for create and (with `update`) for a live change. What this host's control groups cannot set is taken out with
 * Docker's warning. InvalidArgument says in Docker's words what cannot be.
 */
export function checkResources<T extends Resources>(
  asked: T,
  facts: Facts,
  options: { update?: boolean } = {},
): { resources: T; warnings: string[] } {
  const working = { resources: { ...asked }, warnings: [], facts };
  checkMemory(working, options.update ?? false);
  checkKernelMemory(working);
  checkOomAndPids(working);
  checkCpu(working);
  checkRealtime(working);
  checkCpuset(working);
  checkBlockIo(working);
  const { resources, warnings } = working;
  return { resources, warnings };
}

function refuse(message: string, hint?: string): never {
  throw new EngineError('InvalidArgument', 'RESOURCES_INVALID', message, { hint });
}

/** Takes fields out, with a warning. */
function discard<T extends Resources>({ resources, warnings }: Working<T>, fields: readonly (keyof Resources)[], warning: string): void {
  warnings.push(warning);
  for (const field of fields) delete resources[field];
}

const noGroup = (what: string) => `Your kernel does not support ${what} or the cgroup is not mounted.`;

function checkMemory<T extends Resources>(working: Working<T>, update: boolean): void {
  const { resources, facts } = working;
  const memory = () => resources.Memory ?? 0;
  const swap = () => resources.MemorySwap ?? 0;
  if (resources.MemorySwappiness === -1 || resources.MemorySwappiness === null) delete resources.MemorySwappiness;
  if (memory() !== 0 && memory() < minMemoryBytes) refuse('Minimum memory limit allowed is 6MB');
  if (memory() > 0 && !facts.controls.memory)
    discard(working, ['Memory', 'MemorySwap'], `${noGroup('memory limit capabilities')} Limitation discarded.`);
  if (memory() > 0 && swap() !== -1 && !facts.swapAccounting) {
    working.warnings.push(`${noGroup('swap limit capabilities')} Memory limited without swap.`);
    resources.MemorySwap = -1;
  }
  if (memory() > 0 && swap() > 0 && swap() < memory()) refuse('Minimum memoryswap limit should be larger than memory limit, see usage');
  if (memory() === 0 && swap() > 0 && !update) refuse('You should always set the Memory limit when using Memoryswap limit, see usage');
  if (typeof resources.MemorySwappiness === 'number') {
    if (!facts.controls.swappiness)
      discard(working, ['MemorySwappiness'], `${noGroup('memory swappiness capabilities')} Memory swappiness discarded.`);
    else if (resources.MemorySwappiness < 0 || resources.MemorySwappiness > 100)
      refuse(`Invalid value: ${resources.MemorySwappiness}, valid memory swappiness range is 0-100`);
  }
  checkReservation(working);
}

function checkReservation<T extends Resources>(working: Working<T>): void {
  const { resources, facts } = working;
  const { MemoryReservation: reservation = 0, Memory: memory = 0 } = resources;
  if (reservation < 0) refuse(`invalid MemoryReservation: ${reservation}`);
  if (reservation === 0) return;
  if (!facts.controls.memoryReservation) {
    discard(working, ['MemoryReservation'], `${noGroup('memory soft limit capabilities')} Limitation discarded.`);
    return;
  }
  if (reservation < minMemoryBytes) refuse('Minimum memory reservation allowed is 6MB');
  if (memory > 0 && memory < reservation) refuse('Minimum memory limit can not be less than memory reservation limit, see usage');
}

/** Since Linux 5.16 no kernel takes a limit on its own memory; the one on TCP's buffers is there with cgroup v1. */
function checkKernelMemory<T extends Resources>(working: Working<T>): void {
  const { resources, warnings, facts } = working;
  if (resources.KernelMemory) {
    if (resources.KernelMemory < minMemoryBytes) refuse('Minimum kernel memory limit allowed is 6MB');
    warnings.push('Specifying a kernel memory limit is deprecated and will be removed in a future release.');
    discard(working, ['KernelMemory'], `${noGroup('kernel memory limit capabilities')} Limitation discarded.`);
  }
  if (resources.KernelMemoryTCP && !facts.controls.kernelMemoryTcp)
    discard(working, ['KernelMemoryTCP'], `${noGroup('kernel memory TCP limit capabilities')} Limitation discarded.`);
}

function checkOomAndPids<T extends Resources>(working: Working<T>): void {
  const { resources, warnings, facts } = working;
  if (resources.OomKillDisable && !facts.controls.oomKillDisable)
    discard(working, ['OomKillDisable'], 'Your kernel does not support OomKillDisable. OomKillDisable discarded.');
  if (resources.OomKillDisable && !resources.Memory)
    warnings.push(
      'OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.',
    );
  if ((resources.PidsLimit ?? 0) > 0 && !facts.controls.pids)
    discard(working, ['PidsLimit'], `${noGroup('PIDs limit capabilities')} PIDs limit discarded.`);
}

function checkCpu<T extends Resources>(working: Working<T>): void {
  const { resources, facts } = working;
  const { NanoCpus: nano = 0, CpuPeriod: period = 0, CpuQuota: quota = 0, CpuShares: shares = 0 } = resources;
  if (nano > 0 && period > 0) refuse('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  if (nano > 0 && quota > 0) refuse('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  if (nano > 0 && !facts.controls.cpuQuota)
    refuse('NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted');
  if (nano < 0 || nano > facts.cpus * 1e9)
    refuse(`range of CPUs is from 0.01 to ${facts.cpus}.00, as there are only ${facts.cpus} CPUs available`);
  if (shares < 0) refuse(`invalid CPU shares (${shares}): value must be a positive integer`);
  if (shares > 0 && !facts.controls.cpuShares) discard(working, ['CpuShares'], `${noGroup('CPU shares')} Shares discarded.`);
  if ((period !== 0 || quota !== 0) && !facts.controls.cpuQuota)
    discard(working, ['CpuPeriod', 'CpuQuota'], 'Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.');
  else {
    if (period !== 0 && (period < 1_000 || period > 1_000_000))
      refuse('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
    if (quota > 0 && quota < 1_000) refuse('CPU cfs quota can not be less than 1ms (i.e. 1000)');
  }
  if (resources.CpuPercent) discard(working, ['CpuPercent'], 'linux does not support CPU percent. Percent discarded.');
  if (resources.CpuCount) discard(working, ['CpuCount'], 'linux does not support CPU count. Count discarded.');
}

function checkRealtime<T extends Resources>({ resources, facts }: Working<T>): void {
  const { CpuRealtimePeriod: period = 0, CpuRealtimeRuntime: runtime = 0 } = resources;
  if (period === 0 && runtime === 0) return;
  if (!facts.controls.cpuRealtime) refuse('kernel does not support CPU real-time scheduler');
  if (period < 0 || runtime < 0) refuse('CpuRealtimePeriod and CpuRealtimeRuntime are microseconds, and cannot be negative');
  if (period !== 0 && runtime > period) refuse('cpu real-time runtime cannot be higher than cpu real-time period');
}

function checkCpuset<T extends Resources>(working: Working<T>): void {
  const { resources, facts } = working;
  if (!resources.CpusetCpus && !resources.CpusetMems) return;
  const { cpuset } = facts.controls;
  if (cpuset === undefined) {
    discard(working, ['CpusetCpus', 'CpusetMems'], `${noGroup('cpuset')} Cpuset discarded.`);
    return;
  }
  if (resources.CpusetCpus) checkCpuList(resources.CpusetCpus, cpuset.cpus, { kind: 'cpus', what: 'CPUs' });
  if (resources.CpusetMems) checkCpuList(resources.CpusetMems, cpuset.mems, { kind: 'mems', what: 'memory nodes' });
}

function checkBlockIo<T extends Resources>(working: Working<T>): void {
  const { resources, facts } = working;
  const { controls } = facts;
  const weight = resources.BlkioWeight ?? 0;
  if (weight > 0 && !controls.ioWeight) discard(working, ['BlkioWeight'], `${noGroup('Block I/O weight')} Weight discarded.`);
  else if (weight !== 0 && (weight < 10 || weight > 1000)) refuse('Range of blkio weight is from 10 to 1000');
  if (resources.IOMaximumBandwidth) refuse('invalid option: QoS maximum bandwidth configuration is not supported on linux');
  if (resources.IOMaximumIOps) refuse('invalid option: QoS maximum IOPs configuration is not supported on linux');
  const lists: [keyof Resources, boolean, string][] = [
    ['BlkioWeightDevice', controls.ioWeightDevice, `${noGroup('Block I/O weight_device')} Weight-device discarded.`],
    ['BlkioDeviceReadBps', controls.ioReadBytes, `${noGroup('BPS Block I/O read limit')} Block I/O BPS read limit discarded.`],
    ['BlkioDeviceWriteBps', controls.ioWriteBytes, `${noGroup('BPS Block I/O write limit')} Block I/O BPS write limit discarded.`],
    ['BlkioDeviceReadIOps', controls.ioReadOperations, `${noGroup('IOPS Block read limit')} Block I/O IOPS read limit discarded.`],
    ['BlkioDeviceWriteIOps', controls.ioWriteOperations, `${noGroup('IOPS Block write limit')} Block I/O IOPS write limit discarded.`],
  ];
  for (const [field, supported, warning] of lists) {
    const list = resources[field];
    if (Array.isArray(list) && list.length > 0 && !supported) discard(working, [field], warning);
  }
  for (const { Path, Weight } of resources.BlkioWeightDevice ?? [])
    if (Weight < 10 || Weight > 1000) refuse(`Range of blkio weight is from 10 to 1000, not ${Weight} for ${Path}`);
  // Looks the devices up.
  blockIoLimits(resources);
}
