import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventBus } from '../api/event-bus.ts';
import type { ContainerEvent, ContainerRecord } from '../runtime/port.ts';
import { tellContainer } from './container-events.ts';

const record = {
  id: 'c1',
  name: 'web',
  image: { reference: 'web:1', id: 'sha256:1' },
  config: { Labels: { tier: 'front' } },
  endpoints: [{ network: 'own', networkId: 'n1' }],
  mounts: [
    { type: 'volume', name: 'data', source: '/v', destination: '/d', readOnly: true },
    { type: 'bind', source: '/b', destination: '/b', readOnly: false },
  ],
} as unknown as ContainerRecord;

async function told(...events: Omit<ContainerEvent, 'record'>[]) {
  const bus = new EventBus();
  for (const event of events) tellContainer(bus, { record: event.action === 'die' ? { ...record, endpoints: [] } : record, ...event });
  const found = [];
  const untilNs = BigInt(Date.now() + 2) * 1_000_000n;
  for await (const { message } of bus.read({ sinceNs: 0n, untilNs, signal: AbortSignal.timeout(1000) })) found.push(message);
  return found;
}

test('a container that starts mounts its volumes and joins its networks, and leaves them when it dies', async () => {
  const found = await told({ action: 'start' }, { action: 'die', attributes: { exitCode: '3' } }, { action: 'die' });
  assert.deepEqual(
    found.map(({ Type, Action, Actor }) => [Type, Action, Actor.ID]),
    [
      ['volume', 'mount', 'data'],
      ['network', 'connect', 'n1'],
      ['container', 'start', 'c1'],
      ['container', 'die', 'c1'],
      ['network', 'disconnect', 'n1'],
      ['volume', 'unmount', 'data'],
      ['container', 'die', 'c1'],
      ['volume', 'unmount', 'data'],
    ],
  );
  assert.deepEqual(found[0]?.Actor.Attributes, {
    container: 'c1',
    destination: '/d',
    driver: 'local',
    propagation: '',
    'read/write': 'false',
  });
  assert.deepEqual(found[1]?.Actor.Attributes, { container: 'c1', name: 'own' });
  assert.deepEqual({ ...found[3]?.Actor.Attributes }, { tier: 'front', exitCode: '3', image: 'web:1', name: 'web' });
});

test('commands and health are in the name of the action', async () => {
  const found = await told(
    { action: 'exec_create', attributes: { command: 'sh -c ls', execID: 'e1' } },
    { action: 'exec_die', attributes: { exitCode: '0' } },
    { action: 'health_status', attributes: { status: 'healthy' } },
  );
  assert.deepEqual(
    found.map(({ Action }) => Action),
    ['exec_create: sh -c ls', 'exec_die', 'health_status: healthy'],
  );
  assert.equal(found[0]?.Actor.Attributes.execID, 'e1');
});
