import assert from 'node:assert/strict';
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { GivenSecrets } from '../../src/build/secrets.ts';
import { type BuildBench, openBuilds } from '../support/builds.ts';

const skip = process.getuid?.() !== 0 && 'needs root';
const given = (id: string, value: string) => ({ secrets: new GivenSecrets([[id, Buffer.from(value)]]) });

describe('what builds take from the cache', { skip }, () => {
  let builds: BuildBench;
  before(async () => {
    builds = await openBuilds();
    await builds.image('base', { 'tmp/': { mode: 0o1777 } }, {}, true);
  });
  after(() => builds[Symbol.asyncDispose]());

  const two = [
    'FROM base AS deps',
    'COPY a /a',
    'RUN echo deps >> /log; /bin/busybox mktemp -u XXXXXX > /uuid',
    'FROM base AS app',
    'RUN echo app > /app',
    'COPY --from=deps /log /log',
  ].join('\n');

  test('--no-cache-filter runs the steps of its stages and what follows of them only', async () => {
    const context = { kind: 'directory' as const, path: builds.context('filter', { a: '1' }) };
    await builds.build(two, {}, { context });
    const again = await builds.build(two, {}, { context, noCacheFilter: ['DEPS'] });
    assert.deepEqual(again.ran.toSorted(), ['COPY a /a', 'RUN echo deps >> /log; /bin/busybox mktemp -u XXXXXX > /uuid']);
    assert.ok(again.cached.includes('COPY --from=deps /log /log'), 'what it copies came out the same');
    const byNumber = await builds.build(two, {}, { context, noCacheFilter: ['1'] });
    assert.deepEqual(byNumber.ran.toSorted(), ['COPY --from=deps /log /log', 'RUN echo app > /app']);
    const wrong = await builds.build(two, {}, { context, noCacheFilter: ['dep'] });
    assert.deepEqual(wrong.ran, []);
    const warnings = wrong.events.flatMap((event) => (event.kind === 'warning' ? [event.message] : []));
    assert.deepEqual(warnings, ['--no-cache-filter and --cache-ttl: there is no dep. Did you mean deps?']);
  });

  test('--cache-ttl of a stage runs its RUN steps in every build when it is 0, and what follows goes by what they made', async () => {
    const dockerfile =
      'FROM base AS fresh\nCOPY a /a\nRUN /bin/busybox mktemp -u XXXXXX > /u\nFROM base\nRUN echo x > /x\nCOPY --from=fresh /u /u';
    const context = { kind: 'directory' as const, path: builds.context('ttl', { a: 'ttl' }) };
    const text = async (cacheTtls?: { name?: string; ms: number }[]) => {
      const built = await builds.build(dockerfile, {}, { context, ...(cacheTtls === undefined ? {} : { cacheTtls }) });
      return { ran: built.ran.map((name) => name.split(' ').slice(0, 2).join(' ')), u: await builds.text(built.tree.id, 'u') };
    };
    const first = await text([{ name: 'fresh', ms: 3_600_000 }]);
    assert.deepEqual((await text([{ name: 'fresh', ms: 3_600_000 }])).ran, []);
    const old = await text([{ name: 'fresh', ms: 0 }]);
    assert.deepEqual(old.ran, ['RUN /bin/busybox', 'COPY --from=fresh']);
    assert.notEqual(old.u, first.u);
    const later = await text();
    assert.deepEqual([later.ran, later.u], [[], old.u], 'the new result is the one in force');
    const all = await text([{ ms: 0 }, { name: 'fresh', ms: 3_600_000 }]);
    assert.deepEqual([all.ran, all.u], [['RUN echo'], old.u], 'the name wins over all');
  });

  test('a step that depends on a secret runs when the value changes, and its value is nowhere', async () => {
    const dockerfile = 'FROM base\nRUN --mount=type=secret,id=t cat /run/secrets/t | tr a-z n-za-m > /rot\nRUN cp /rot /copy';
    const build = (value: string, invalidateSecrets: string[]) => builds.build(dockerfile, {}, { ...given('t', value), invalidateSecrets });
    const one = await build('one', ['t']);
    assert.equal(one.ran.length, 2);
    assert.deepEqual((await build('one', ['t'])).ran, []);
    const other = await build('two', ['t']);
    assert.equal(other.ran.length, 2);
    assert.equal(await builds.text(other.tree.id, 'copy'), 'gjb');
    assert.equal((await build('one', ['t'])).tree.id, one.tree.id);
    assert.deepEqual((await build('three', [])).ran.length, 2, 'without it the step is another one');
    assert.deepEqual((await build('four', [])).ran, []);
    const key = join(builds.folder, 'root/build/secret-key');
    assert.deepEqual([statSync(key).mode & 0o777, statSync(key).size], [0o600, 32]);
    const missing = await builds.build(dockerfile.replace('cat /run/secrets/t', 'echo none'), {}, { invalidateSecrets: ['t'] });
    assert.equal(missing.ran.length, 2);
    const memory = readFileSync(join(builds.folder, 'root/build/memory.json'), 'utf8');
    assert.ok(memory.includes('the secret t') && !memory.includes('three'));
  });

  test('a RUN depends on what it mounts of a folder, a stage or an image, and on nothing else of it', async () => {
    const dockerfile = [
      'FROM base AS tools',
      'COPY tools /tools',
      'FROM base',
      'RUN --mount=type=bind,source=src,target=/src --mount=type=bind,from=tools,source=/tools/bin,target=/bin2 ls -l /src /bin2 > /seen',
    ].join('\n');
    const files = { 'src/a': '1', 'other/b': '1', 'tools/bin/t': '1', 'tools/doc/d': '1' };
    const path = builds.context('partial', files);
    const build = async (change: Record<string, string> = {}) => {
      builds.context('partial', { ...files, ...change });
      chmodSync(join(path, 'src'), 0o755);
      return (await builds.build(dockerfile, {}, { context: { kind: 'directory', path } })).ran.filter((name) => name.startsWith('RUN'))
        .length;
    };
    assert.equal(await build(), 1);
    assert.equal(await build({ 'other/b': '2', 'tools/doc/d': '2' }), 0, 'beside what is mounted');
    assert.equal(await build({ 'src/a': '2' }), 1);
    assert.equal(await build({ 'src/a': '2', 'tools/bin/t': '2' }), 1);
    assert.equal(await build({ 'src/a': '2', 'tools/bin/t': '2', 'src/new': '' }), 1);
  });

  test('the mode of a mounted folder is seen by the step, so it counts', async () => {
    const dockerfile =
      'FROM base AS made\nRUN mkdir /d && echo x > /d/f && chmod MODE /d\nFROM base\nRUN --mount=type=bind,from=made,source=/d,target=/d stat -c %a /d > /mode';
    const mode = async (text: string) => builds.text((await builds.build(dockerfile.replace('MODE', text))).tree.id, 'mode');
    assert.equal(await mode('755'), '755\n');
    assert.equal(await mode('700'), '700\n');
  });

  test('a cache begins with what is selected, and not with the rest of where that comes from', async () => {
    const dockerfile =
      'FROM base AS seed\nCOPY . /\nFROM base\nRUN --mount=type=cache,id=seeded,from=seed,source=/in,target=/c ls /c > /seen';
    const run = async (files: Record<string, string>) =>
      (await builds.build(dockerfile, files)).ran.filter((name) => name.startsWith('RUN'));
    assert.equal((await run({ 'in/a': '1', out: '1' })).length, 1);
    assert.equal((await run({ 'in/a': '1', out: '2' })).length, 0);
    assert.equal((await run({ 'in/a': '2', out: '2' })).length, 1);
  });
});
