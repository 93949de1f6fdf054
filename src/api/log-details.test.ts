import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerRecord } from '../runtime/port.ts';
import { logDetails } from './log-details.ts';

const details = (options: Record<string, string>) =>
  logDetails({
    config: { Labels: { tier: 'front end', zone: 'a=b' }, Env: ['OS=linux', 'PATH=/bin', 'EMPTY'] },
    hostConfig: { LogConfig: { Type: 'json-file', Config: options } },
  } as unknown as ContainerRecord);

test('labels and variables that the log options name, in order and escaped', () => {
  assert.equal(details({}), '');
  assert.equal(details({ labels: 'zone,tier,nope', env: 'OS,EMPTY' }), 'EMPTY=&OS=linux&tier=front+end&zone=a%3Db'.replaceAll('&', ','));
  assert.equal(details({ 'labels-regex': '^t', 'env-regex': '^(P|O)' }), 'OS=linux,PATH=%2Fbin,tier=front+end');
  assert.equal(details({ 'labels-regex': '[' }), '');
});
