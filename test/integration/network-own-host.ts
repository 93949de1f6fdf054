import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { unmount } from '../../src/kernel/mount.ts';
import { createNetns } from '../../src/kernel/namespace.ts';
import { needs, shell } from './network-harness.ts';

const inside = process.env.SLIPWAY_TEST_OWN_HOST === '1';

/** Addresses of the host that a file of tests has to itself, and of a machine on its wire, which is its default route. */
export const host = { ipv4: '198.51.100.1', ipv6: '2001:db8:1::1' } as const;
export const machine = { ipv4: '198.51.100.2', ipv6: '2001:db8:1::2' } as const;

/**
 * Gives a file of tests a host of its own: network and mount namespaces in which it may flush rules, switch forwarding and break what it likes.
 * Called at the file's top with `import.meta.url`. Undefined outside, where the file has one test that runs the file again inside; there, the
 * path of the namespace of a machine on the wire.
 */
export async function ownHost(url: string): Promise<string | undefined> {
  if (inside) return makeWire();
  test('in a network of its own', { skip: needs }, async () => {
    const script = 'mount --make-rprivate / && mount -t sysfs sysfs /sys && exec "$0" "$@"';
    const args = ['--net', '--mount', 'sh', '-c', script, process.execPath, '--test-reporter=spec', fileURLToPath(url)];
    // Without the runner's own variable the file reports to people.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const run = promisify(execFile)('unshare', args, { timeout: 110_000, env: { ...env, SLIPWAY_TEST_OWN_HOST: '1' } });
    await run.catch((error: { stdout?: string; stderr?: string; message: string }) => {
      throw new Error(`${error.message}\n${error.stdout ?? ''}\n${error.stderr ?? ''}`);
    });
  });
  return undefined;
}

async function makeWire(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-wire-'));
  const outside = join(directory, 'machine');
  createNetns(outside);
  process.on('exit', () => {
    unmount(outside, { detach: true });
    rmSync(directory, { recursive: true });
  });
  await shell(
    `ip link set lo up; ip link add up0 type veth peer name out0; ip link set out0 netns ${outside}; ip link set up0 up
     ip address add ${host.ipv4}/24 dev up0; ip address add ${host.ipv6}/64 dev up0 nodad`,
  );
  await shell(
    `ip link set lo up; ip link set out0 up; ip address add ${machine.ipv4}/24 dev out0; ip address add ${machine.ipv6}/64 dev out0 nodad`,
    outside,
  );
  await shell(`ip route add default via ${machine.ipv4}; ip route add default via ${machine.ipv6}`);
  return outside;
}
