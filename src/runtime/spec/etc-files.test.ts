import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mergeEnv, processEnv } from './environment.ts';
import { hostsFile, parseExtraHost, resolvConf } from './etc-files.ts';

const none = { network: [], dns: [], search: [], options: [], keepLoopback: false };

test('resolv.conf: a loopback resolver of the host is no use inside', () => {
  assert.equal(resolvConf({ ...none, host: 'nameserver 127.0.0.1\nsearch a b\n' }), 'nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch a b\n');
  assert.equal(resolvConf({ ...none, host: 'nameserver 127.0.0.1\nnameserver 9.9.9.9 # mine\n' }), 'nameserver 9.9.9.9\n');
  assert.equal(resolvConf({ ...none, host: 'nameserver 127.0.0.1\n', keepLoopback: true }), 'nameserver 127.0.0.1\n');
});

test('resolv.conf: what is asked replaces the lines of its kind, the network goes first', () => {
  const host = 'nameserver 9.9.9.9\nsearch a\noptions ndots:2\n';
  assert.equal(resolvConf({ ...none, host, dns: ['1.1.1.1'], search: ['.'], options: ['rotate'] }), 'nameserver 1.1.1.1\noptions rotate\n');
  assert.equal(resolvConf({ ...none, host, network: ['10.0.0.1'] }), 'nameserver 10.0.0.1\nsearch a\noptions ndots:2\n');
});

test('hosts: own names, extra hosts, the gateway by its name', () => {
  const text = hostsFile({
    hostname: 'box',
    domainname: 'lan',
    addresses: ['10.0.0.2'],
    extraHosts: ['db:10.0.0.9', 'host:host-gateway', 'v6:[::1]'],
    gateway: '10.0.0.1',
  });
  assert.match(text, /^127\.0\.0\.1\tlocalhost\n/);
  assert.match(text, /10\.0\.0\.9\tdb\n10\.0\.0\.1\thost\n::1\tv6\n10\.0\.0\.2\tbox\.lan box\n$/);
  assert.throws(() => hostsFile({ hostname: 'x', addresses: [], extraHosts: ['h:host-gateway'] }), /host-gateway/);
  for (const bad of ['db', 'db:', ':1.2.3.4', 'db:not an address']) assert.throws(() => parseExtraHost(bad), /bad format/);
});

test('environment: later wins in place, a bare name removes, HOME is that of the user unless given', () => {
  assert.deepEqual(mergeEnv(['A=1', 'B=2'], ['A=3', 'C=4=5']), ['A=3', 'B=2', 'C=4=5']);
  assert.deepEqual(mergeEnv(['A=1', 'B=2'], ['A']), ['B=2']);
  const env = processEnv({ env: ['X=1', 'PATH=/own'], hostname: 'box', tty: true, home: '/home/app' });
  assert.deepEqual(env, ['PATH=/own', 'HOSTNAME=box', 'TERM=xterm', 'X=1', 'HOME=/home/app']);
  assert.ok(processEnv({ env: ['HOME=/x'], tty: false, home: '/y' }).includes('HOME=/x'));
});
