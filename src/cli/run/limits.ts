import type { Resources } from '../../api-types/container.ts';
import { integer, list, text, usageError, type Values } from '../flags.ts';
import { parseThrottle, parseWeightDevice } from '../parse/devices.ts';
import { parseBytes, parseBytesOrUnlimited, parseCpus } from '../parse/units.ts';

/** Limits that `update` can change while a container runs. */
export const updatableFlags = {
  'blkio-weight': integer('Share of block I/O, 10 to 1000; 0 turns it off', { value: 'N' }),
  'cpu-period': integer('CFS period in microseconds', { value: 'N' }),
  'cpu-quota': integer('CFS quota in microseconds', { value: 'N' }),
  'cpu-rt-period': integer('Real-time period in microseconds', { value: 'N' }),
  'cpu-rt-runtime': integer('Real-time runtime in microseconds', { value: 'N' }),
  'cpu-shares': integer('CPU weight, relative to 1024', { short: 'c', value: 'N' }),
  cpus: text('Number of CPUs', { value: 'N' }),
  'cpuset-cpus': text('CPUs it may run on', { value: '0-3,7' }),
  'cpuset-mems': text('Memory nodes it may use', { value: '0,1' }),
  'kernel-memory': text('Limit of kernel memory (an old kernel’s)', { value: 'SIZE' }),
  memory: text('Memory limit', { short: 'm', value: 'SIZE' }),
  'memory-reservation': text('Memory that it may count on', { value: 'SIZE' }),
  'memory-swap': text('Memory and swap together; -1 for no limit', { value: 'SIZE' }),
  'pids-limit': integer('Number of processes; -1 for no limit', { value: 'N' }),
} as const;

/** Limits that are set once, when a container is made. */
export const fixedLimitFlags = {
  'blkio-weight-device': list('Share of block I/O on one device', { value: 'DEVICE:N' }),
  'cpu-count': integer('CPUs of a Windows container', { value: 'N' }),
  'cpu-percent': integer('CPU percentage of a Windows container', { value: 'N' }),
  'device-read-bps': list('Bytes a second that it may read from a device', { value: 'DEVICE:SIZE' }),
  'device-read-iops': list('Reads a second from a device', { value: 'DEVICE:N' }),
  'device-write-bps': list('Bytes a second that it may write to a device', { value: 'DEVICE:SIZE' }),
  'device-write-iops': list('Writes a second to a device', { value: 'DEVICE:N' }),
  'io-maxbandwidth': text('I/O of a Windows container’s system drive', { value: 'SIZE' }),
  'io-maxiops': integer('I/O operations of a Windows container’s system drive', { value: 'N' }),
  'memory-swappiness': integer('0 to 100; -1 leaves it to the kernel', { value: 'N' }),
} as const;

type Loose<T> = { [K in keyof T]?: T[K] | undefined };

/** Fields that were not asked for are undefined. Throws InvalidArgument `USAGE`. */
export function updatableLimits(flags: Values<typeof updatableFlags>): Loose<Resources> {
  const size = (name: 'memory' | 'memory-reservation' | 'kernel-memory') =>
    optional(flags[name], (value) => parseBytes(value, `--${name}`));
  const weight = flags['blkio-weight'];
  if (weight !== undefined && weight !== 0 && (weight < 10 || weight > 1000))
    throw usageError(`invalid argument "${weight}" for --blkio-weight: weights go from 10 to 1000`);
  return {
    BlkioWeight: weight,
    CpuPeriod: flags['cpu-period'],
    CpuQuota: flags['cpu-quota'],
    CpuRealtimePeriod: flags['cpu-rt-period'],
    CpuRealtimeRuntime: flags['cpu-rt-runtime'],
    CpuShares: flags['cpu-shares'],
    NanoCpus: optional(flags.cpus, parseCpus),
    CpusetCpus: flags['cpuset-cpus'],
    CpusetMems: flags['cpuset-mems'],
    KernelMemory: size('kernel-memory'),
    Memory: size('memory'),
    MemoryReservation: size('memory-reservation'),
    MemorySwap: optional(flags['memory-swap'], (value) => parseBytesOrUnlimited(value, '--memory-swap')),
    PidsLimit: flags['pids-limit'],
  };
}

export function fixedLimits(flags: Values<typeof fixedLimitFlags>): Loose<Resources> {
  const throttle = (name: 'device-read-bps' | 'device-write-bps' | 'device-read-iops' | 'device-write-iops') =>
    some(flags[name].map((value) => parseThrottle(value, `--${name}`, name.endsWith('iops'))));
  return {
    BlkioWeightDevice: some(flags['blkio-weight-device'].map(parseWeightDevice)),
    BlkioDeviceReadBps: throttle('device-read-bps'),
    BlkioDeviceReadIOps: throttle('device-read-iops'),
    BlkioDeviceWriteBps: throttle('device-write-bps'),
    BlkioDeviceWriteIOps: throttle('device-write-iops'),
    CpuCount: flags['cpu-count'],
    CpuPercent: flags['cpu-percent'],
    IOMaximumBandwidth: optional(flags['io-maxbandwidth'], (value) => parseBytes(value, '--io-maxbandwidth')),
    IOMaximumIOps: flags['io-maxiops'],
    MemorySwappiness: flags['memory-swappiness'],
  };
}

function some<T>(values: T[]): T[] | undefined {
  return values.length === 0 ? undefined : values;
}

function optional<T>(value: string | undefined, parse: (value: string) => T): T | undefined {
  return value === undefined ? undefined : parse(value);
}
