import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type HostItem, type HostReport, installLine, isReady, renderReport } from './report.ts';

const item = (fields: Partial<HostItem>): HostItem => ({
  section: 'Programs',
  name: 'runc',
  status: 'ok',
  required: true,
  detail: '1.1',
  ...fields,
});
const choice = { name: 'x', why: 'because' };
const report = (items: HostItem[], fields: Partial<HostReport> = {}): HostReport => ({
  ready: isReady(items),
  root: '/r',
  run: '/run/r',
  privileged: true,
  unknown: [],
  choices: {
    runtime: choice,
    cgroupDriver: choice,
    snapshotter: choice,
    network: choice,
    init: choice,
    userNamespaces: choice,
    appArmor: choice,
    devices: choice,
  },
  items,
  ...fields,
});

test('only what is required decides', () => {
  assert.ok(isReady([item({}), item({ status: 'degraded' }), item({ status: 'missing', required: false })]));
  assert.ok(!isReady([item({ status: 'missing' })]));
  assert.ok(!isReady([item({ status: 'unsupported' })]));
});

test('missing packages come in one line, each once', () => {
  const missing = (install: string) => item({ status: 'missing', install });
  assert.equal(
    installLine([missing('apt-get install -y runc'), missing('apt-get install -y conmon'), missing('apt-get install -y runc')]),
    'apt-get install -y runc conmon',
  );
  assert.equal(installLine([item({ install: 'apt-get install -y runc' })]), undefined);
});

test('the text is aligned, says why, and has colours only when asked for', () => {
  const items = [
    item({ section: 'Kernel', name: 'overlayfs', detail: 'there' }),
    item({ name: 'conmon', status: 'missing', detail: 'not installed', why: 'It holds output.', install: 'apt-get install -y conmon' }),
    item({ name: 'iptables', status: 'missing', required: false, detail: 'not installed', why: 'No bridges.' }),
  ];
  const text = renderReport(report(items, { privileged: false, unknown: ['whether NAT works'] }));
  const column = (line: string) =>
    text
      .split('\n')
      .find((each) => each.trim().startsWith(line))
      ?.indexOf('not installed');
  assert.equal(column('conmon'), column('iptables'));
  for (const expected of [
    'MISSING',
    'It holds output.',
    'apt-get install -y conmon',
    'whether NAT works',
    'does not run Slipway yet: conmon.',
  ]) {
    assert.ok(text.includes(expected), expected);
  }
  assert.ok(!text.includes('\u001b'));
  assert.ok(renderReport(report(items), { colour: true }).includes('\u001b[31mMISSING'));
  assert.match(renderReport(report([item({})])), /This host runs Slipway\.\n$/);
});
