import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { canonical } from '../oci/reference.ts';
import type { ImageRecord, Store } from '../store/port.ts';
import { baseImage } from './base-images.ts';
import type { BuildEvent, ImageFetcher } from './port.ts';

const here = { id: 'here' } as unknown as ImageRecord;
const fetched = { id: 'fetched' } as unknown as ImageRecord;

function bench(fetch?: ImageFetcher['fetch']) {
  const asked: string[] = [];
  const events: BuildEvent[] = [];
  const store = {
    images: {
      async resolve(name: string) {
        if (/^(docker\.io\/library\/)?web(:latest)?$/.test(name)) return here;
        throw new EngineError('NotFound', 'IMAGE_NOT_FOUND', `No such image: ${name}`);
      },
    },
    uses: { touch: async (_kind: string, id: string) => void asked.push(`used ${id}`) },
  } as unknown as Pick<Store, 'images' | 'uses'>;
  const fetcher: ImageFetcher = {
    async fetch(reference, options) {
      asked.push(`fetched ${canonical(reference)} as ${options.auth?.username}`);
      return (await fetch?.(reference, options)) ?? fetched;
    },
  };
  const authFor = () => ({ username: 'me' });
  const find = (name: string, request: { pull?: boolean } = {}, fetchers: ImageFetcher | undefined = fetcher) =>
    baseImage(name, {
      store,
      fetcher: fetchers,
      request: { ...request, authFor },
      onEvent: (event) => events.push(event),
      signal: AbortSignal.timeout(5000),
    });
  return { find, asked, events, store };
}

test('a base image comes from the store, and from its registry when it is not there or the newest is wanted', async () => {
  const { find, asked, events } = bench();
  assert.equal(await find('web'), here);
  assert.equal(await find('db'), fetched);
  assert.equal(await find('web', { pull: true }), fetched);
  assert.deepEqual(asked, [
    'used here',
    'fetched docker.io/library/db:latest as me',
    'used fetched',
    'fetched docker.io/library/web:latest as me',
    'used fetched',
  ]);
  assert.deepEqual(
    events.map((event) => (event.kind === 'vertex' ? `${event.name} ${event.state}` : event.kind)),
    ['pull db:latest running', 'pull db:latest done', 'pull web:latest running', 'pull web:latest done'],
  );
});

test('an id is looked for in the store only, and so is everything without registries', async () => {
  const { find, asked, store } = bench();
  await assert.rejects(find('a'.repeat(64), { pull: true }), /No such image: aaaa/);
  const alone = { store, fetcher: undefined, request: {}, onEvent: () => {}, signal: AbortSignal.timeout(5000) };
  await assert.rejects(baseImage('db', alone), /No such image: db/);
  assert.deepEqual(asked, []);
});

test('what cannot be pulled says whether it is here', async () => {
  const { find, events } = bench(async () => {
    throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'refused');
  });
  await assert.rejects(find('db'), (error) => {
    assert.ok(error instanceof EngineError);
    assert.deepEqual([error.code, error.message], ['REGISTRY_UNREACHABLE', 'No such image: db:latest, and it cannot be pulled: refused']);
    return true;
  });
  await assert.rejects(
    find('web', { pull: true }),
    (error) =>
      error instanceof EngineError &&
      /^web:latest cannot be pulled: refused$/.test(error.message) &&
      /without --pull/.test(error.hint ?? ''),
  );
  assert.equal(events.filter((event) => event.kind === 'vertex' && event.state === 'error').length, 2);
});
