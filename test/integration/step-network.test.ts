import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { needs, serveText } from './network-harness.ts';
import { cannotRun } from './runtime-support.ts';
import { openSteps } from './step-scene.ts';

const skip = cannotRun || needs;
const named = (containerName: string) => ({ containerName, hostname: containerName });
const nc = (host: string, port = 80) => `busybox timeout 5 busybox nc ${host} ${port} </dev/null 2>&1`;

test('a step that is held to names reaches what they lead to, and no address beside', { skip }, async (t) => {
  const { step, networks, names, asked } = await openSteps(t);
  const at = async (id: string) => {
    const { netns, endpoints } = await networks.attach(id, [{ name: 'bridge' }], [], named(id));
    await serveText(t, netns, 80, `i am ${id}\n`);
    return endpoints[0]?.ipAddress ?? '';
  };
  const [registry, other] = [await at('registry'), await at('other')];
  names.set('registry.test', [registry]).set('a.mirror.test', [registry]).set('other.test', [other]);
  const script = [
    `echo name: $(${nc('registry.test')})`,
    `echo below: $(${nc('a.mirror.test')})`,
    `echo suffix itself: $(${nc('mirror.test')})`,
    `echo other name: $(${nc('other.test')})`,
    `echo other address: $(${nc(other)})`,
    `echo other address of the name: $(${nc(registry, 81)})`,
    'echo capabilities: $(grep CapEff /proc/self/status)',
    `busybox nslookup other.test 127.0.0.11 | grep -c NXDOMAIN`,
    `busybox ping -c 1 -W 1 ${other} 2>&1 | grep -ci 'permission denied'`,
  ].join('\n');
  const held = await step(['sh', '-c', script], { allowedHosts: ['Registry.TEST', '*.mirror.test'], recordTraffic: true });
  const lines = held.stdout.split('\n');
  assert.equal(lines[0], 'name: i am registry', held.stdout + held.stderr);
  assert.equal(lines[1], 'below: i am registry');
  assert.match(lines[2] ?? '', /bad address/);
  assert.match(lines[3] ?? '', /bad address/);
  assert.doesNotMatch(lines[4] ?? '', /i am other/);
  // CAP_NET_RAW is bit 13: with it packets could be written by hand.
  assert.equal(Number.parseInt(/CapEff: ?(\S+)/.exec(held.stdout)?.[1] ?? '', 16) & (1 << 13), 0);
  assert.deepEqual(held.refusedHosts, ['mirror.test', 'other.test']);
  assert.ok(!asked.includes('other.test'), 'nobody outside was asked for it');
  const [traffic, ...more] = held.traffic ?? [];
  assert.deepEqual([traffic?.host, traffic?.address, more], ['registry.test', registry, []]);
  assert.ok((traffic?.bytesIn ?? 0) > 100 && (traffic?.bytesOut ?? 0) > 100);

  // The namespace that was held serves nobody after it.
  const free = await step(['sh', '-c', nc(other)]);
  assert.equal(free.stdout, 'i am other\n');
  assert.equal(free.traffic, undefined);
});

test('what a step talks to is told by name; what no name led to, together', { skip }, async (t) => {
  const { step, networks, names } = await openSteps(t);
  const { netns, endpoints } = await networks.attach('server', [{ name: 'bridge' }], [], named('server'));
  await serveText(t, netns, 80, 'x'.repeat(10_000));
  const address = endpoints[0]?.ipAddress ?? '';
  const by = await step(['sh', '-c', `${nc('big.test')} | wc -c`], { recordTraffic: true }).catch((error: Error) => error);
  assert.ok(!(by instanceof Error));
  assert.equal(by.stdout.trim() === '10000', false);
  names.set('big.test', [address]);
  const told = await step(['sh', '-c', `${nc('big.test')} | wc -c`], { recordTraffic: true });
  assert.equal(told.stdout.trim(), '10000');
  assert.deepEqual(
    told.traffic?.map(({ host }) => host),
    ['big.test'],
  );
  assert.ok((told.traffic?.[0]?.bytesIn ?? 0) > 10_000);
  const direct = await step(['sh', '-c', `${nc(address)} | wc -c`], { recordTraffic: true });
  assert.deepEqual(
    direct.traffic?.map(({ host, address: at }) => [host, at]),
    [['', '']],
  );
  assert.ok((direct.traffic?.[0]?.bytesIn ?? 0) > 10_000);
});

test('hosts: names with addresses of their own, also of the gateway; held to names, they must be among them', { skip }, async (t) => {
  const { step, networks } = await openSteps(t);
  const { netns, endpoints } = await networks.attach('db', [{ name: 'bridge' }], [], named('db'));
  await serveText(t, netns, 80, 'of the database\n');
  const address = endpoints[0]?.ipAddress ?? '';
  const hosts = [
    { name: 'db.internal', address },
    { name: 'gateway.internal', address: 'host-gateway' },
  ];
  const plain = await step(['sh', '-c', `${nc('db.internal')}; grep gateway /etc/hosts`], { hosts });
  assert.equal(plain.stdout, `of the database\n${endpoints[0]?.gateway}\tgateway.internal\n`);
  const allowed = await step(['sh', '-c', nc('db.internal')], { hosts, allowedHosts: ['db.internal'] });
  assert.equal(allowed.stdout, 'of the database\n');
  const refused = await step(['sh', '-c', nc('db.internal')], { hosts, allowedHosts: ['*.elsewhere'] });
  assert.doesNotMatch(refused.stdout, /of the database/);
  const byAddress = await step(['sh', '-c', nc(address)], { allowedHosts: [address] });
  assert.equal(byAddress.stdout, 'of the database\n');
});

test('what cannot be held to names is refused', { skip }, async (t) => {
  const { step } = await openSteps(t);
  const refuses = (more: Parameters<typeof step>[1], expected: object) => assert.rejects(step(['true'], more), expected);
  await refuses({ network: 'host', allowedHosts: ['a.test'] }, { kind: 'Unsupported', code: 'ALLOWED_HOSTS_UNSUPPORTED' });
  await refuses({ insecure: true, allowedHosts: ['a.test'] }, { kind: 'Unsupported', code: 'ALLOWED_HOSTS_UNSUPPORTED' });
  for (const text of ['https://a.test/x', 'a.test:443', '*', '', 'a..b', '*.*.test', `${'a'.repeat(64)}.test`]) {
    await refuses({ allowedHosts: [text] }, (error: unknown) => error instanceof EngineError && error.code === 'ALLOWED_HOST_INVALID');
  }
  const none = await step(['sh', '-c', 'ls /sys/class/net'], { network: 'none', allowedHosts: ['a.test'] });
  assert.equal(none.stdout, 'lo\n');
});
