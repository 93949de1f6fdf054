import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { needs } from './network-harness.ts';

test('machines on the wire reach what is published for them, and nothing else, on a host that forwards nothing by itself', {
  skip: needs,
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'slipway-network-'));
  t.after(() => rm(directory, { recursive: true }));
  const child = fileURLToPath(new URL('network-outside-child.ts', import.meta.url));
  const script = 'mount --make-rprivate / && mount -t sysfs sysfs /sys && exec "$0" "$@"';
  const { stdout } = await promisify(execFile)('unshare', ['--net', '--mount', 'sh', '-c', script, process.execPath, child, directory], {
    timeout: 30_000,
  });
  assert.deepEqual(JSON.parse(stdout), { published: 'container', outward: 'machine', loopbackFromWire: '', loopbackFromHost: 'container' });
});
