import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StatsSample } from '../../runtime/port.ts';
import { encodeStats } from './stats.ts';

const sample: StatsSample = {
  readAtMs: 1_700_000_001_000,
  pids: { current: 3 },
  cpu: { usageNs: 500, userNs: 300, systemNs: 200, throttling: { periods: 1, throttledPeriods: 2, throttledNs: 3 } },
  host: { cpuNs: 10_000, onlineCpus: 2 },
  memory: { usageBytes: 4096, limitBytes: 8192, failures: 0, details: { inactive_file: 1024 } },
  blockIo: { bytes: [{ major: 8, minor: 0, op: 'read', value: 7 }], operations: [] },
  networks: { eth0: { rxBytes: 1, rxPackets: 2, rxErrors: 3, rxDropped: 4, txBytes: 5, txPackets: 6, txErrors: 7, txDropped: 8 } },
};
const container = { id: 'c'.repeat(64), name: 'web' };

test('a reading has the fields that clients compute their columns of, and the one before it', () => {
  const stats = encodeStats(container, sample, { ...sample, readAtMs: 1_700_000_000_000, cpu: { ...sample.cpu, usageNs: 100 } });
  assert.deepEqual(
    [stats.name, stats.id, stats.read, stats.preread],
    ['/web', container.id, '2023-11-14T22:13:21.000Z', '2023-11-14T22:13:20.000Z'],
  );
  assert.deepEqual([stats.cpu_stats.cpu_usage.total_usage, stats.precpu_stats.cpu_usage.total_usage], [500, 100]);
  assert.deepEqual([stats.cpu_stats.system_cpu_usage, stats.cpu_stats.online_cpus], [10_000, 2]);
  assert.deepEqual(stats.cpu_stats.throttling_data, { periods: 1, throttled_periods: 2, throttled_time: 3 });
  assert.deepEqual(stats.memory_stats, { usage: 4096, limit: 8192, stats: { inactive_file: 1024 } });
  assert.deepEqual(stats.pids_stats, { current: 3 });
  assert.deepEqual(stats.blkio_stats.io_service_bytes_recursive, [{ major: 8, minor: 0, op: 'read', value: 7 }]);
  assert.equal(stats.networks?.eth0?.tx_dropped, 8);
});

test('of what does not run there is a name and nothing to count', () => {
  const { name, read, cpu_stats, memory_stats, pids_stats, networks } = encodeStats(container, undefined, undefined);
  assert.deepEqual([name, read], ['/web', '0001-01-01T00:00:00Z']);
  assert.deepEqual([cpu_stats.cpu_usage.total_usage, cpu_stats.system_cpu_usage], [0, undefined]);
  assert.deepEqual([memory_stats, pids_stats, networks], [{}, {}, undefined]);
});
