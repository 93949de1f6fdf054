import type { CpuStats, NetworkStats, StatsResponse } from '../../api-types/stats.ts';
import type { StatsSample } from '../../runtime/port.ts';
import { isoTime, zeroTime } from './time.ts';

type Named = { id: string; name: string };

const noCpu: CpuStats = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};

/** One reading of a container; `previous` gives clients the difference that CPU shares are made of. Without a sample it is empty. */
export function encodeStats({ id, name }: Named, sample: StatsSample | undefined, previous: StatsSample | undefined): StatsResponse {
  return {
    name: `/${name}`,
    id,
    read: sample === undefined ? zeroTime : isoTime(sample.readAtMs),
    preread: previous === undefined ? zeroTime : isoTime(previous.readAtMs),
    pids_stats: sample === undefined ? {} : withoutZeros({ current: sample.pids.current, limit: sample.pids.limit }),
    blkio_stats: blockIo(sample),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpu(sample),
    precpu_stats: cpu(previous),
    memory_stats: memory(sample),
    ...(sample === undefined || Object.keys(sample.networks).length === 0 ? {} : { networks: networks(sample) }),
  };
}

function cpu(sample: StatsSample | undefined): CpuStats {
  if (sample === undefined) return noCpu;
  const { cpu, host } = sample;
  return {
    cpu_usage: {
      total_usage: cpu.usageNs,
      ...(cpu.perCpuNs === undefined ? {} : { percpu_usage: cpu.perCpuNs }),
      usage_in_kernelmode: cpu.systemNs,
      usage_in_usermode: cpu.userNs,
    },
    system_cpu_usage: host.cpuNs,
    online_cpus: host.onlineCpus,
    throttling_data: {
      periods: cpu.throttling.periods,
      throttled_periods: cpu.throttling.throttledPeriods,
      throttled_time: cpu.throttling.throttledNs,
    },
  };
}

function memory(sample: StatsSample | undefined): StatsResponse['memory_stats'] {
  if (sample === undefined) return {};
  const { usageBytes, maxUsageBytes, limitBytes, failures, details } = sample.memory;
  const counters = withoutZeros({ usage: usageBytes, max_usage: maxUsageBytes, failcnt: failures, limit: limitBytes });
  return { ...counters, stats: details };
}

function blockIo(sample: StatsSample | undefined): StatsResponse['blkio_stats'] {
  return {
    io_service_bytes_recursive: sample?.blockIo.bytes ?? null,
    io_serviced_recursive: sample?.blockIo.operations ?? null,
    io_queue_recursive: null,
    io_service_time_recursive: null,
    io_wait_time_recursive: null,
    io_merged_recursive: null,
    io_time_recursive: null,
    sectors_recursive: null,
  };
}

function networks(sample: StatsSample): Record<string, NetworkStats> {
  return Object.fromEntries(
    Object.entries(sample.networks).map(([name, counters]) => [
      name,
      {
        rx_bytes: counters.rxBytes,
        rx_packets: counters.rxPackets,
        rx_errors: counters.rxErrors,
        rx_dropped: counters.rxDropped,
        tx_bytes: counters.txBytes,
        tx_packets: counters.txPackets,
        tx_errors: counters.txErrors,
        tx_dropped: counters.txDropped,
      },
    ]),
  );
}

/** Docker leaves zeros out; clients take what is missing for zero. */
function withoutZeros<T extends Record<string, number | undefined>>(values: T): { [K in keyof T]?: number } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== 0)) as {
    [K in keyof T]?: number;
  };
}
