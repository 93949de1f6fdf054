import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventBus, eventJson } from './event-bus.ts';

const input = (action: string) => ({ type: 'container' as const, action, id: 'abc', attributes: { name: 'web' }, from: 'web:1' });

async function collect(bus: EventBus, options: Parameters<EventBus['read']>[0]): Promise<string[]> {
  return Array.fromAsync(bus.read(options), ({ message }) => message.Action);
}

test('a listener sees what comes after it, in order, until it leaves', async () => {
  const bus = new EventBus();
  const leaving = new AbortController();
  bus.publish(input('before'));
  const seen = collect(bus, { signal: leaving.signal });
  await new Promise(setImmediate);
  assert.equal(bus.listeners, 1);
  for (const action of ['create', 'start', 'die']) bus.publish(input(action));
  await new Promise(setImmediate);
  leaving.abort();
  assert.deepEqual(await seen, ['create', 'start', 'die']);
  assert.equal(bus.listeners, 0);
});

test('since replays, until ends, and times never repeat', async () => {
  const bus = new EventBus();
  for (let i = 0; i < 5; i++) bus.publish(input(`e${i}`));
  const { signal } = new AbortController();
  const past = { sinceNs: 0n, untilNs: BigInt(Date.now()) * 1_000_000n + 10n };
  const events = await Array.fromAsync(bus.read({ ...past, signal }));
  assert.equal(new Set(events.map(({ timeNs }) => timeNs)).size, 5);
  const third = events[2]?.timeNs ?? 0n;
  assert.deepEqual(await collect(bus, { ...past, sinceNs: third + 1n, signal }), ['e3', 'e4']);
});

test('the ring forgets the oldest events', async () => {
  const bus = new EventBus();
  for (let i = 0; i < 3000; i++) bus.publish(input(`e${i}`));
  const { signal } = new AbortController();
  const kept = await collect(bus, { sinceNs: 0n, untilNs: BigInt(Date.now() + 5) * 1_000_000n, signal });
  assert.equal(kept.length, 2048);
  assert.equal(kept.at(-1), 'e2999');
});

test('the JSON has the old fields and the whole number of nanoseconds', async () => {
  const bus = new EventBus();
  bus.publish(input('start'));
  const { signal } = new AbortController();
  const [event] = await Array.fromAsync(bus.read({ sinceNs: 0n, untilNs: BigInt(Date.now() + 5) * 1_000_000n, signal }));
  assert.ok(event);
  const json = eventJson(event);
  const { time, timeNano, ...rest } = JSON.parse(json);
  assert.deepEqual(rest, {
    status: 'start',
    id: 'abc',
    from: 'web:1',
    Type: 'container',
    Action: 'start',
    Actor: { ID: 'abc', Attributes: { name: 'web' } },
    scope: 'local',
  });
  assert.ok(json.includes(`"timeNano":${event.timeNs}}`));
  assert.equal(Math.floor(timeNano / 1e9), time);
});

test('the bus knows which networks a container has joined and not left', () => {
  const bus = new EventBus();
  const tell = (action: string, id: string) =>
    bus.publish({ type: 'network', action, id, attributes: { container: 'c1', name: `name of ${id}` } });
  tell('connect', 'n1');
  tell('connect', 'n2');
  tell('disconnect', 'n1');
  bus.publish({ type: 'network', action: 'create', id: 'n3', attributes: { name: 'x' } });
  assert.deepEqual(bus.joinedBy('c1'), [{ id: 'n2', name: 'name of n2' }]);
  tell('disconnect', 'n2');
  assert.deepEqual(bus.joinedBy('c1'), []);
});
