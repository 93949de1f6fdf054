import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { mergeConfig } from './create/config.ts';
import { mountRequests, parseBind } from './create/mounts.ts';
import { endpointConfigs, networkMode } from './create/network-mode.ts';
import { portBindings } from './create/ports.ts';
import { runtimeMessage } from './drivers/oci-runtime.ts';
import { checkName, randomName } from './names.ts';
import { restartDelay, startsWithEngine } from './restart-policy.ts';
import { parseSignal } from './signals.ts';
import { spoolLimits } from './spool-limits.ts';
import { parsePs } from './top.ts';

test('restart policies', () => {
  const ended = { exitCode: 1, ranMs: 50, restartCount: 0, stoppedByUser: false, lastDelayMs: 0 };
  assert.equal(restartDelay({ Name: 'no' }, ended), undefined);
  assert.equal(restartDelay(undefined, ended), undefined);
  assert.equal(restartDelay({ Name: 'always' }, ended), 100);
  assert.equal(restartDelay({ Name: 'always' }, { ...ended, lastDelayMs: 100 }), 200);
  assert.equal(restartDelay({ Name: 'always' }, { ...ended, lastDelayMs: 50_000 }), 60_000);
  assert.equal(restartDelay({ Name: 'always' }, { ...ended, lastDelayMs: 50_000, ranMs: 10_000 }), 100, 'it had settled');
  assert.equal(restartDelay({ Name: 'always' }, { ...ended, stoppedByUser: true }), undefined);
  assert.equal(restartDelay({ Name: 'on-failure' }, { ...ended, exitCode: 0 }), undefined);
  assert.equal(restartDelay({ Name: 'on-failure', MaximumRetryCount: 2 }, { ...ended, restartCount: 2 }), undefined);
  assert.ok(startsWithEngine({ Name: 'always' }, { exitCode: 0, restartCount: 0, stoppedByUser: true }));
  assert.ok(!startsWithEngine({ Name: 'unless-stopped' }, { exitCode: 0, restartCount: 0, stoppedByUser: true }));
});

test('signals in every spelling', () => {
  for (const text of ['SIGTERM', 'TERM', 'term', '15']) assert.equal(parseSignal(text), 15);
  assert.equal(parseSignal('SIGRTMIN+3'), 37);
  assert.equal(parseSignal('RTMAX-1'), 63);
  for (const text of ['', '0', '65', 'SIGFOO', 'RTMIN+40']) assert.throws(() => parseSignal(text), /Invalid signal/);
});

test('names', () => {
  for (const name of ['ab', 'a.b-c_d', '0x']) assert.equal(checkName(name), name);
  for (const name of ['', 'a', '-ab', 'a/b', 'a b', 'x'.repeat(256)]) assert.throws(() => checkName(name), /Invalid container name/);
  assert.match(randomName(), /^[a-z]+_[a-z]+$/);
});

test('network modes, endpoints and ports', () => {
  assert.deepEqual(networkMode({}), { kind: 'network', name: 'bridge' });
  assert.deepEqual(networkMode({ NetworkMode: 'container:x' }), { kind: 'container', container: 'x' });
  const endpoints = endpointConfigs({
    HostConfig: { NetworkMode: 'back' },
    NetworkingConfig: { EndpointsConfig: { front: null, back: { Aliases: ['db'] } } },
  });
  assert.deepEqual(endpoints, [
    { name: 'back', aliases: ['db'] },
    { name: 'front', aliases: [] },
  ]);
  assert.deepEqual(portBindings({ PortBindings: { '80/tcp': [{ HostPort: '8080', HostIp: '127.0.0.1' }], '53/udp': null } }, undefined), [
    { hostIp: '127.0.0.1', hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    { hostIp: '', hostPort: 0, containerPort: 53, protocol: 'udp' },
  ]);
  assert.equal(portBindings({ PublishAllPorts: true }, { '80/tcp': {}, '81': {} }).length, 2);
  for (const port of ['0/tcp', '70000', '80/sctp', 'x'])
    assert.throws(() => portBindings({ PortBindings: { [port]: [{}] } }, undefined), /invalid/);
});

test('entrypoint and command are joined as Docker joins them', () => {
  const image = { Entrypoint: ['/entry'], Cmd: ['default'], Env: ['A=1'], User: 'app', WorkingDir: '/srv' };
  const args = (request: Parameters<typeof mergeConfig>[0]) => mergeConfig(request, image, 'f'.repeat(64)).args;
  assert.deepEqual(args({}), ['/entry', 'default']);
  assert.deepEqual(args({ Cmd: ['own'] }), ['/entry', 'own']);
  assert.deepEqual(args({ Entrypoint: ['/other'] }), ['/other']);
  assert.deepEqual(args({ Entrypoint: [''], Cmd: ['sh'] }), ['sh']);
  const { config } = mergeConfig({ Env: ['B=2'] }, image, 'f'.repeat(64));
  assert.deepEqual([config.Env, config.User, config.WorkingDir, config.Hostname], [['A=1', 'B=2'], 'app', '/srv', 'ffffffffffff']);
});

test('volume specifications', () => {
  assert.deepEqual(parseBind('/h//x:/in/:ro,rslave'), {
    type: 'bind',
    source: '/h/x',
    destination: '/in',
    readOnly: true,
    propagation: 'rslave',
    makeSource: true,
  });
  assert.deepEqual(parseBind('data:/in:nocopy'), { type: 'volume', name: 'data', destination: '/in', readOnly: false, copyUp: false });
  assert.deepEqual(parseBind('/in'), { type: 'volume', destination: '/in', readOnly: false, copyUp: true });
  for (const text of ['', ':/a', 'a:', '/a:b', '/a:/b:c:d', '/a:/', '/a:/b:fast']) assert.throws(() => parseBind(text), EngineError, text);
  const requests = mountRequests({ Volumes: { '/a': {}, '/b': {} } }, { Binds: ['named:/a'] });
  assert.deepEqual(
    requests.map(({ destination, type }) => [type, destination]),
    [
      ['volume', '/a'],
      ['volume', '/b'],
    ],
  );
});

test('log options', () => {
  assert.deepEqual(spoolLimits({ Config: { 'max-size': '10m', 'max-file': '3' } }), { maxBytes: 10 << 20, maxFiles: 3 });
  assert.deepEqual(spoolLimits(undefined), { maxBytes: 100 << 20, maxFiles: 5 });
  assert.equal(spoolLimits({ Config: { 'max-size': '1' } }).maxBytes, 16 << 10);
  assert.equal(spoolLimits({ Config: { 'max-size': '-1' } }).maxBytes, Number.POSITIVE_INFINITY);
});

test('ps rows of the wanted processes, the command whole', () => {
  const text = 'UID   PID CMD\nroot    7 sh -c echo  x\nroot   70 other\n';
  assert.deepEqual(parsePs(text, [7]), { Titles: ['UID', 'PID', 'CMD'], Processes: [['root', '7', 'sh -c echo x']] });
  assert.throws(() => parsePs('CMD\nx\n', [7]), /PID/);
});

test("a runtime's words without its prefix", () => {
  assert.equal(runtimeMessage('time="x" level=error msg="runc create failed: exec: \\"a\\": no"\n'), 'exec: "a": no');
  assert.equal(runtimeMessage('plain\n'), 'plain');
});
