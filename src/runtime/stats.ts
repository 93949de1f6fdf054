import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { type Cgroups, readMemoryFile } from './cgroups.ts';
import type { StatsSample } from './port.ts';

/** USER_HZ, in which the kernel tells times to user space: 100 on every architecture that Node runs on. */
const ticksPerSecond = 100;
const nsPerTick = 1e9 / ticksPerSecond;

type Subject = {
  /** Of the container, relative to a hierarchy's root. */
  cgroup: string;
  /** Its first process; undefined when it has the host's network. */
  networkOf: number | undefined;
  nowMs: number;
};

/** Reads the counters of a running container: a dozen small files of the kernel's, 0.2 ms. Undefined when its group has gone. */
export async function readStats(cgroups: Cgroups, { cgroup, networkOf, nowMs }: Subject): Promise<StatsSample | undefined> {
  const read = (controller: string, file: string) => cgroups.read(cgroup, controller, file);
  const readers = cgroups.version === 1 ? legacy : unified;
  const host = await hostCpu();
  const [pids, limit] = [read('pids', 'pids.current'), read('pids', 'pids.max')];
  const cpu = readers.cpu(read);
  if (pids === undefined && cpu === undefined) return undefined;
  const pidLimit = Number(limit);
  const memory = readers.memory(read);
  return {
    readAtMs: nowMs,
    pids: { current: Number(pids ?? 0), ...(limit !== undefined && Number.isInteger(pidLimit) ? { limit: pidLimit } : {}) },
    cpu: cpu ?? { usageNs: 0, userNs: 0, systemNs: 0, throttling: { periods: 0, throttledPeriods: 0, throttledNs: 0 } },
    host,
    memory: { ...memory, limitBytes: Math.min(memory.limitBytes, totalmem()) },
    blockIo: readers.blockIo(read),
    networks: networkOf === undefined ? {} : parseNetworks(readMemoryFile(`/proc/${networkOf}/net/dev`) ?? ''),
  };
}

type Read = (controller: string, file: string) => string | undefined;
type Readers = {
  cpu(read: Read): StatsSample['cpu'] | undefined;
  memory(read: Read): StatsSample['memory'];
  blockIo(read: Read): StatsSample['blockIo'];
};

/** Control groups version 1 (admin-guide/cgroup-v1). */
const legacy: Readers = {
  cpu(read) {
    const [usage, stat, perCpu, throttled] = [
      read('cpuacct', 'cpuacct.usage'),
      read('cpuacct', 'cpuacct.stat'),
      read('cpuacct', 'cpuacct.usage_percpu'),
      read('cpu', 'cpu.stat'),
    ];
    if (usage === undefined) return undefined;
    const [times, throttling] = [parseKeyed(stat), parseKeyed(throttled)];
    return {
      usageNs: Number(usage),
      userNs: (times.user ?? 0) * nsPerTick,
      systemNs: (times.system ?? 0) * nsPerTick,
      ...(perCpu === undefined ? {} : { perCpuNs: perCpu.trim().split(/\s+/).map(Number) }),
      throttling: {
        periods: throttling.nr_periods ?? 0,
        throttledPeriods: throttling.nr_throttled ?? 0,
        throttledNs: throttling.throttled_time ?? 0,
      },
    };
  },
  memory(read) {
    const [usage, most, limit, failures, stat] = [
      'memory.usage_in_bytes',
      'memory.max_usage_in_bytes',
      'memory.limit_in_bytes',
      'memory.failcnt',
      'memory.stat',
    ].map((file) => read('memory', file));
    return {
      usageBytes: Number(usage ?? 0),
      ...(most === undefined ? {} : { maxUsageBytes: Number(most) }),
      limitBytes: toLimit(limit),
      ...(failures === undefined ? {} : { failures: Number(failures) }),
      details: parseKeyed(stat),
    };
  },
  blockIo(read) {
    const counters = (kind: string) =>
      parseLegacyIo(read('blkio', `blkio.throttle.${kind}_recursive`) ?? read('blkio', `blkio.throttle.${kind}`));
    return { bytes: counters('io_service_bytes'), operations: counters('io_serviced') };
  },
};

/** Control groups version 2 (admin-guide/cgroup-v2). */
const unified: Readers = {
  cpu(read) {
    const text = read('cpu', 'cpu.stat');
    if (text === undefined) return undefined;
    const stat = parseKeyed(text);
    return {
      usageNs: (stat.usage_usec ?? 0) * 1000,
      userNs: (stat.user_usec ?? 0) * 1000,
      systemNs: (stat.system_usec ?? 0) * 1000,
      throttling: {
        periods: stat.nr_periods ?? 0,
        throttledPeriods: stat.nr_throttled ?? 0,
        throttledNs: (stat.throttled_usec ?? 0) * 1000,
      },
    };
  },
  memory(read) {
    const [usage, limit, events, stat] = ['memory.current', 'memory.max', 'memory.events', 'memory.stat'].map((file) =>
      read('memory', file),
    );
    return {
      usageBytes: Number(usage ?? 0),
      limitBytes: toLimit(limit),
      ...(events === undefined ? {} : { failures: parseKeyed(events).oom ?? 0 }),
      details: parseKeyed(stat),
    };
  },
  blockIo(read) {
    return parseUnifiedIo(read('io', 'io.stat'));
  },
};

/** `max`, and version 1's nearly 2^63, are no limit. */
function toLimit(text: string | undefined): number {
  const limit = Number(text);
  return text === undefined || Number.isNaN(limit) ? Number.POSITIVE_INFINITY : limit;
}

/** Lines of a name and a number. */
export function parseKeyed(text: string | undefined): Record<string, number> {
  const result: Record<string, number> = {};
  for (const line of (text ?? '').split('\n')) {
    const at = line.indexOf(' ');
    if (at > 0) result[line.slice(0, at)] = Number(line.slice(at + 1));
  }
  return result;
}

type IoCounter = StatsSample['blockIo']['bytes'][number];

/** `8:0 Read 4096`; the last line, a total of all devices, has none. */
export function parseLegacyIo(text: string | undefined): IoCounter[] {
  return [...(text ?? '').matchAll(/^(\d+):(\d+) (\w+) (\d+)$/gm)].map(([, major, minor, op = '', value]) => ({
    major: Number(major),
    minor: Number(minor),
    op,
    value: Number(value),
  }));
}

/** `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …` */
export function parseUnifiedIo(text: string | undefined): StatsSample['blockIo'] {
  const result: StatsSample['blockIo'] = { bytes: [], operations: [] };
  for (const [, major, minor, rest = ''] of (text ?? '').matchAll(/^(\d+):(\d+) (.*)$/gm)) {
    const values = Object.fromEntries(rest.split(' ').map((pair) => pair.split('=')));
    const device = { major: Number(major), minor: Number(minor) };
    for (const [op, letter] of [
      ['read', 'r'],
      ['write', 'w'],
    ] as const) {
      result.bytes.push({ ...device, op, value: Number(values[`${letter}bytes`] ?? 0) });
      result.operations.push({ ...device, op, value: Number(values[`${letter}ios`] ?? 0) });
    }
  }
  return result;
}

let reading: Promise<StatsSample['host']> | undefined;

/** Of several containers that are read at the same moment, one reads /proc/stat, which is long on large hosts. */
function hostCpu(): Promise<StatsSample['host']> {
  reading ??= readFile('/proc/stat', 'latin1')
    .then(parseHostCpu)
    .finally(() => {
      reading = undefined;
    });
  return reading;
}

/** As Docker adds it up: user, nice, system, idle, iowait, irq and softirq. */
export function parseHostCpu(text: string): StatsSample['host'] {
  const [, ...fields] = (text.split('\n', 1)[0] ?? '').trim().split(/\s+/);
  const ticks = fields.slice(0, 7).reduce((sum, field) => sum + Number(field), 0);
  return { cpuNs: ticks * nsPerTick, onlineCpus: text.match(/^cpu\d+ /gm)?.length ?? 1 };
}

/** /proc/PID/net/dev without the loopback (proc(5)). */
export function parseNetworks(text: string): StatsSample['networks'] {
  const result: StatsSample['networks'] = {};
  for (const [, name = '', rest = ''] of text.matchAll(/^\s*([^:\s]+):\s*(.*)$/gm)) {
    if (name === 'lo') continue;
    const [rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0, , , , , txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0] = rest
      .split(/\s+/)
      .map(Number);
    result[name] = { rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped };
  }
  return result;
}
