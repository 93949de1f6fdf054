import type { StatsResponse } from '../../api-types/stats.ts';
import type { Columns, Row } from '../format/listing.ts';
import { binarySize, humanSize, shortId } from '../format/units.ts';

const none = '--';

export const statsColumns: Columns = {
  table: ['ID', 'Name', 'CPUPerc', 'MemUsage', 'MemPerc', 'NetIO', 'BlockIO', 'PIDs'],
  titles: {
    Container: 'CONTAINER',
    ID: 'CONTAINER ID',
    CPUPerc: 'CPU %',
    MemUsage: 'MEM USAGE / LIMIT',
    MemPerc: 'MEM %',
    NetIO: 'NET I/O',
    BlockIO: 'BLOCK I/O',
    PIDs: 'PIDS',
  },
};

/** A row before there is a reading, or when there is none to be had. */
export function emptyRow(container: string): Row {
  return {
    Container: container,
    Name: none,
    ID: shortId(container),
    CPUPerc: none,
    MemUsage: `${none} / ${none}`,
    MemPerc: none,
    NetIO: none,
    BlockIO: none,
    PIDs: none,
  };
}

/** What Docker's command line makes of a reading: the time of one processor is 100 %, and memory is counted without what the kernel could drop at once. */
export function statsRow(container: string, stats: StatsResponse, full: boolean): Row {
  const memory = stats.memory_stats;
  const used = memoryInUse(memory);
  const limit = memory.limit ?? 0;
  const networks = Object.values(stats.networks ?? {});
  const sum = (of: (network: (typeof networks)[number]) => number) => networks.reduce((total, network) => total + of(network), 0);
  return {
    Container: container,
    Name: stats.name.replace(/^\//, '') || none,
    ID: full ? stats.id : shortId(stats.id),
    CPUPerc: percent(cpuShare(stats)),
    MemUsage: `${binarySize(used)} / ${binarySize(limit)}`,
    MemPerc: percent(limit === 0 ? 0 : used / limit),
    NetIO: `${humanSize(sum((network) => network.rx_bytes))} / ${humanSize(sum((network) => network.tx_bytes))}`,
    BlockIO: `${humanSize(blockBytes(stats, 'r'))} / ${humanSize(blockBytes(stats, 'w'))}`,
    PIDs: String(stats.pids_stats.current ?? 0),
  };
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)}%`;
}

function cpuShare({ cpu_stats: now, precpu_stats: before }: StatsResponse): number {
  const used = now.cpu_usage.total_usage - before.cpu_usage.total_usage;
  const host = (now.system_cpu_usage ?? 0) - (before.system_cpu_usage ?? 0);
  const processors = now.online_cpus ?? now.cpu_usage.percpu_usage?.length ?? 0;
  return used > 0 && host > 0 ? (used / host) * processors : 0;
}

/** `total_inactive_file` is cgroup v1's, `inactive_file` v2's. */
function memoryInUse({ usage = 0, stats = {} }: StatsResponse['memory_stats']): number {
  const droppable = stats.total_inactive_file ?? stats.inactive_file ?? 0;
  return droppable < usage ? usage - droppable : usage;
}

function blockBytes({ blkio_stats: io }: StatsResponse, direction: 'r' | 'w'): number {
  const entries = io.io_service_bytes_recursive ?? [];
  return entries.filter(({ op }) => op.toLowerCase().startsWith(direction)).reduce((total, { value }) => total + value, 0);
}
