import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { call, cannotRunDaemon, DaemonPlace, type DaemonProcess, upload } from './api-daemon-harness.ts';

const skip = cannotRunDaemon;
let here: DaemonPlace;
let daemon: DaemonProcess;
before(async () => {
  if (skip) return;
  here = new DaemonPlace();
  daemon = await here.start();
  await upload(here.socket, '/images/create?fromSrc=-&repo=bb&tag=1', here.imageTar());
  for (const Name of ['one', 'two']) await post('/networks/create', 201, { Name });
});
after(() => here?.remove());

async function post(path: string, status: number, body?: unknown): Promise<{ Id?: string; message?: string }> {
  const answer = await call(here.socket, 'POST', path, body);
  assert.equal(answer.status, status, `${path}: ${answer.text}`);
  return answer.text === '' ? {} : (JSON.parse(answer.text) as { Id?: string; message?: string });
}

async function create(name: string, NetworkMode: string): Promise<void> {
  await post(`/containers/create?name=${name}`, 201, {
    Image: 'bb:1',
    Cmd: ['sleep', '600'],
    ...(NetworkMode.startsWith('container:') ? {} : { Hostname: name }),
    HostConfig: { NetworkMode },
  });
}

async function start(name: string, NetworkMode: string): Promise<void> {
  await create(name, NetworkMode);
  await post(`/containers/${name}/start`, 204);
}

/** What a command in the container says. */
async function exec(name: string, ...Cmd: string[]): Promise<string> {
  const { Id } = await post(`/containers/${name}/exec`, 201, { Cmd, AttachStdout: true, AttachStderr: true, Tty: true });
  return (await call(here.socket, 'POST', `/exec/${Id}/start`, { Tty: true })).text;
}

async function interfaces(name: string): Promise<string[]> {
  return [...(await exec(name, 'cat', '/proc/net/dev')).matchAll(/^\s*(eth\d+):/gm)].map(([, each = '']) => each);
}

type Networks = Record<string, { IPAddress: string; Aliases: string[] | null }>;

async function networks(name: string): Promise<Networks> {
  const { text } = await call(here.socket, 'GET', `/containers/${name}/json`);
  return (JSON.parse(text) as { NetworkSettings: { Networks: Networks } }).NetworkSettings.Networks;
}

const connect = (network: string, Container: string, status: number, EndpointConfig = {}) =>
  post(`/networks/${network}/connect`, status, { Container, EndpointConfig });
const disconnect = (network: string, Container: string, status: number, Force = false) =>
  post(`/networks/${network}/disconnect`, status, { Container, Force });

test('a running container joins a network and leaves it, and sees so', { skip }, async () => {
  await start('live', 'one');
  await exec('live', 'sh', '-c', 'echo 192.0.2.1 mine >> /etc/hosts');
  await connect('two', 'live', 200, { Aliases: ['other'] });
  assert.deepEqual(await interfaces('live'), ['eth0', 'eth1']);
  const { two } = await networks('live');
  assert.ok(two && two.IPAddress !== '' && two.Aliases?.includes('other'));
  const hosts = await exec('live', 'cat', '/etc/hosts');
  assert.ok(hosts.includes(`${two.IPAddress}\tlive`) && hosts.includes('192.0.2.1 mine'), hosts);
  assert.match((await connect('two', 'live', 403)).message ?? '', /endpoint with name live already exists in network two/);
  await disconnect('two', 'live', 200);
  assert.deepEqual(await interfaces('live'), ['eth0']);
  assert.ok(!(await exec('live', 'cat', '/etc/hosts')).includes(two.IPAddress));
  assert.deepEqual(Object.keys(await networks('live')), ['one']);
  assert.match((await disconnect('two', 'live', 500)).message ?? '', /is not connected to network two/);
});

test('it leaves its last network and joins one again', { skip }, async () => {
  await start('bare', 'one');
  await disconnect('one', 'bare', 200);
  assert.deepEqual(await interfaces('bare'), []);
  await post('/containers/bare/restart?t=0', 204);
  assert.deepEqual(await interfaces('bare'), []);
  await connect('two', 'bare', 200);
  assert.deepEqual(await interfaces('bare'), ['eth0']);
});

test('what does not run joins with its next start', { skip }, async () => {
  await create('still', 'one');
  await connect('two', 'still', 200);
  await connect('two', 'still', 200);
  await post('/containers/still/start', 204);
  assert.deepEqual(await interfaces('still'), ['eth0', 'eth1']);
  await post('/containers/still/stop?t=0', 204);
  await disconnect('one', 'still', 200);
  await post('/containers/still/start', 204);
  assert.deepEqual(Object.keys(await networks('still')), ['two']);
});

test('modes that have no room for another network are refused in Docker’s words', { skip }, async () => {
  await start('on-host', 'host');
  await start('alone', 'none');
  await start('sharing', 'container:alone');
  const refused = async (network: string, name: string, words: RegExp) =>
    assert.match((await connect(network, name, 400)).message ?? '', words);
  await refused('one', 'on-host', /cannot be disconnected from host network or connected to host network/);
  await refused('host', 'live', /cannot be disconnected from host network or connected to host network/);
  await refused('one', 'sharing', /container sharing network namespace with another container or host/);
  await refused('one', 'alone', /cannot be connected to multiple networks with one of the networks in private \(none\) mode/);
  await connect('nowhere', 'live', 404);
  await connect('one', 'nobody', 404);
});

test('names and networks outlive the daemon', { skip }, async () => {
  await connect('two', 'live', 200);
  const before = await networks('live');
  await daemon.kill();
  daemon = await here.start();
  assert.deepEqual(await networks('live'), before);
  assert.deepEqual(await interfaces('live'), ['eth0', 'eth1']);
  await disconnect('two', 'live', 200);
  assert.deepEqual(await interfaces('live'), ['eth0']);
});
