import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BenchEngine } from '../engine.ts';
import type { Measure } from '../measure.ts';
import { BenchRegistry } from '../registry.ts';
import { makeBinaries, patchBytes, prepareReleases } from '../releases.ts';
import type { BenchOptions } from '../suites.ts';

/** What each release after the first costs on the wire, beside what a patch of its root tar would cost. */
export async function benchReleases({ small, say }: BenchOptions): Promise<Measure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-bench-releases-'));
  try {
    const binaries = makeBinaries(folder, small ? 20 : 200);
    return [
      ...(await measureReleases('a changed binary', binaries, folder, say)),
      ...(await measureReleases('package tree', prepareReleases(say, small ? 2 : 10), folder, say)),
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureReleases(name: string, releases: readonly string[], folder: string, say: (text: string) => void): Promise<Measure[]> {
  await using registry = await BenchRegistry.start();
  // One of its own: else what the other form has sent would be mounted.
  await using chunkedOnly = await BenchRegistry.start();
  await using builder = await BenchEngine.start();
  await using host = await BenchEngine.start();
  const row = (what: string, unit: Measure['unit']): Measure => ({ name: `${name}: ${what}`, unit, values: [] });
  const rows = {
    pushed: row('pushed', 'bytes'),
    pushedChunked: row('pushed with --format chunked', 'bytes'),
    pulled: row('pulled', 'bytes'),
    zstd: row('zstd --patch-from', 'bytes'),
    xdelta3: row('xdelta3', 'bytes'),
    pushSeconds: row('push', 's'),
    pullSeconds: row('pull', 's'),
  };
  for (const [index, release] of releases.entries()) {
    const image = `${registry.address}/release:${index + 1}`;
    await builder.cli('build', '-q', '-t', image, release);
    await registry.passed();
    const pushSeconds = await seconds(() => builder.cli('push', image));
    const pushed = await registry.passed();
    const other = `${chunkedOnly.address}/release:${index + 1}`;
    await builder.cli('tag', image, other);
    await chunkedOnly.passed();
    await builder.cli('push', '--format', 'chunked', other);
    const pushedChunked = await chunkedOnly.passed();
    const pullSeconds = await seconds(() => host.cli('pull', image));
    const pulled = await registry.passed();
    const patch = index === 0 ? undefined : patchBytes(folder, releases[index - 1] ?? '', release);
    say(
      `${name} ${index + 1}: pushed ${pushed.up + pushed.down} (chunked alone ${pushedChunked.up + pushedChunked.down}), pulled ${pulled.up + pulled.down} bytes; zstd ${patch?.zstd ?? '-'}, xdelta3 ${patch?.xdelta3 ?? '-'}; push ${pushSeconds.toFixed(2)} s, pull ${pullSeconds.toFixed(2)} s`,
    );
    if (patch === undefined) continue;
    rows.pushed.values.push(pushed.up + pushed.down);
    rows.pushedChunked.values.push(pushedChunked.up + pushedChunked.down);
    rows.pulled.values.push(pulled.up + pulled.down);
    rows.zstd.values.push(patch.zstd);
    rows.xdelta3.values.push(patch.xdelta3);
    rows.pushSeconds.values.push(pushSeconds);
    rows.pullSeconds.values.push(pullSeconds);
  }
  const best = rows.zstd.values.map((bytes, index) => Math.min(bytes, rows.xdelta3.values[index] ?? bytes));
  const bounds = best.map((bytes) => Math.round(bytes * 1.5 + 200_000));
  const withinBound = (values: readonly number[]) =>
    `${values.filter((bytes, index) => bytes <= (bounds[index] ?? 0)).length} of ${bounds.length} within 1.5 x the smaller patch + 200 kB`;
  const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
  return [
    { ...rows.pushed, note: `together ${total(rows.pushed.values)}` },
    {
      ...rows.pulled,
      note: `together ${total(rows.pulled.values)}; ${withinBound(rows.pulled.values)}`,
    },
    { ...rows.zstd, note: `together ${total(rows.zstd.values)}` },
    { ...rows.xdelta3, note: `together ${total(rows.xdelta3.values)}` },
    { name: `${name}: pulled, all together`, unit: 'bytes', values: [total(rows.pulled.values)], aim: total(bounds) },
    rows.pushSeconds,
    rows.pullSeconds,
  ];
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}
