import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { Collection, GcPlan } from '../../src/api-types/gc.ts';
import { type Answer, call, cannotRunDaemon, DaemonPlace, upload } from './api-daemon-harness.ts';

suite('garbage collection in a daemon', { skip: cannotRunDaemon }, () => {
  let place: DaemonPlace;

  before(async () => {
    place = new DaemonPlace();
    const config = join(place.folder, 'slipway.toml');
    writeFileSync(
      config,
      '[gc]\nhigh = "100%"\nlow = "100%"\nmin-age = "0"\nshare = "100%"\nimages = { keep-last = 0, keep-used-within = "0" }\n',
    );
    await place.start('--config', config);
  });
  after(() => place.remove());

  const get = async <T>(path: string): Promise<T> => JSON.parse(good(await call(place.socket, 'GET', path)).text) as T;
  const collect = async (body: object = {}): Promise<Collection> =>
    JSON.parse(good(await call(place.socket, 'POST', '/slipway/gc/run', body)).text) as Collection;

  test('what a container runs on stays when its image is removed, and goes with the container', async () => {
    good(await upload(place.socket, '/images/create?fromSrc=-&repo=tools&tag=1', place.imageTar()));
    const created = good(
      await call(place.socket, 'POST', '/containers/create?name=web', {
        Image: 'tools:1',
        Cmd: ['sleep', '1000'],
        HostConfig: { NetworkMode: 'none' },
      }),
    );
    const { Id: id } = JSON.parse(created.text) as { Id: string };
    good(await call(place.socket, 'POST', `/containers/${id}/start`));
    const untouched = await collect({ want: 1e15 });
    assert.deepEqual(
      untouched.removed.filter(({ kind }) => kind === 'image'),
      [],
      'a container uses it',
    );
    good(await call(place.socket, 'POST', `/containers/${id}/stop?t=0`));
    good(await call(place.socket, 'DELETE', '/images/tools:1?force=1'));
    assert.equal((await collect({ want: 1e15 })).sweep.trees, 0, 'the container has its tree');
    good(await call(place.socket, 'POST', `/containers/${id}/start`));
    good(await call(place.socket, 'DELETE', `/containers/${id}?force=1`));

    const plan = await get<GcPlan>('/slipway/gc/plan');
    const unused = plan.items.find(({ kind }) => kind === 'unused');
    assert.ok(unused !== undefined && unused.bytes > 500_000, 'busybox is what nothing needs any more');
    const { sweep, plannedBytes } = await collect({ plan: plan.id });
    assert.equal(sweep.trees, 1);
    assert.equal(plannedBytes, plan.bytes);
    assert.deepEqual(await get<Collection[]>('/slipway/gc/history').then((all) => all.map(({ planId }) => planId)[0]), plan.id);
    assert.deepEqual(
      (await get<GcPlan>('/slipway/gc/plan')).items.filter(({ bytes }) => bytes > 0),
      [],
    );
  });

  test('a plan that is not known is said so, and a body that is none names its field', async () => {
    const unknown = await call(place.socket, 'POST', '/slipway/gc/run', { plan: 'abc' });
    assert.equal(unknown.status, 404);
    assert.match(unknown.text, /there is no plan abc/);
    const wrong = await call(place.socket, 'POST', '/slipway/gc/run', { want: -1 });
    assert.equal(wrong.status, 400);
    assert.match(wrong.text, /want/);
  });
});

function good(answer: Answer): Answer {
  assert.ok(answer.status < 400, `${answer.status}: ${answer.text}`);
  return answer;
}
