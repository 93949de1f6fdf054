import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { BuildDefinition } from '../../src/api-types/definition.ts';
import { bind, cache, context, difference, image, merge, scratch, secret, type Tree } from '../../src/build-api/index.ts';
import { describeBuild } from '../../src/cli/build/describe.ts';
import { type BuildBench, type Files, openBuilds } from '../support/builds.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };

const build = (builds: BuildBench, described: Tree | BuildDefinition, files: Files = {}) => {
  const definition = 'definition' in described ? described.definition() : described;
  return builds.build(JSON.stringify(definition), files, { frontend: 'definition' });
};

test('trees that were made side by side become one, with no step run again for what did not change', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', { 'etc/base': 'b' }, { Env: ['GREETING=hello'], Labels: { from: 'base' } }, true);
  const describe = (name: string) => {
    const base = image('base');
    const sources = context();
    const parts = ['a', name].map((part) => difference(base, base.run(`echo $GREETING ${part} > /${part}; touch /etc/base`)));
    const app = base.copy(sources, '/app/', { paths: ['src'], owner: '7:8', exclude: ['*.md'] });
    return merge(app, ...parts).with({ Cmd: ['/bin/cat', '/a'], Labels: { own: '1' } });
  };
  const files = { 'src/main.txt': 'main', 'src/readme.md': 'no' };
  const first = await build(builds, describe('b'), files);
  const listed = await builds.list(first.tree.id);
  assert.ok(
    listed.some((line) => /^f app\/main\.txt 644 7:8/.test(line)),
    listed.join('\n'),
  );
  assert.ok(!listed.some((line) => line.includes('readme.md')));
  assert.equal(await builds.text(first.tree.id, 'a'), 'hello a\n');
  assert.equal(await builds.text(first.tree.id, 'etc/base'), 'b');
  assert.deepEqual(first.config.config?.Labels, { from: 'base', own: '1' });
  assert.deepEqual(first.config.config?.Cmd, ['/bin/cat', '/a']);
  const second = await build(builds, describe('c'), files);
  const ran = second.events.flatMap((event) =>
    event.kind === 'vertex' && event.state === 'done' && event.name.startsWith('RUN') ? [event.name] : [],
  );
  assert.deepEqual(ran, ['RUN echo $GREETING c > /c; touch /etc/base']);
  const again = await build(builds, describe('c'), files);
  assert.deepEqual([again.cachedVertices, again.image?.id], [again.vertices, second.image?.id]);
});

test('a difference has what came and what changed, with hard links, and not what went', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', { 'd/kept': 'k', 'd/changed': '1', gone: 'g' }, {}, true);
  const after = image('base').run('rm /gone; echo 2 > /d/changed; mkdir /new; echo n > /new/file; ln /new/file /new/link; chmod 700 /d');
  const { tree } = await build(builds, difference(image('base'), after));
  assert.deepEqual(
    (await builds.list(tree.id)).map((line) => line.split(' ').slice(0, 3).join(' ')),
    ['d d 700', 'f d/changed 644', 'd new 755', 'f new/file 644', 'f new/link 644'],
  );
  const { hardlinks } = await builds.store.trees.get(tree.id);
  assert.deepEqual(hardlinks, [['new/file', 'new/link']]);
});

test('a step is tried again, and ended when its time is over', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const flaky = image('base').run('test -e /c/there || { touch /c/there; echo first; false; }', { mounts: [cache('/c')], retries: 1 });
  const result = await build(builds, flaky);
  assert.match(result.output, /first\n.*attempt 1 of 2 failed: .*exit code 1/s);
  await assert.rejects(build(builds, image('base').run('echo never; false', { retries: 2 })), { code: 'BUILD_STEP_FAILED' });
  const started = performance.now();
  await assert.rejects(build(builds, image('base').run('sleep 60', { timeoutMs: 300 })), { code: 'BUILD_STEP_TIMEOUT' });
  assert.ok(performance.now() - started < 20_000);
});

test('bound trees are read only unless they are to be written, and the context is read as far as it is used', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const sources = context();
  const reads = image('base').run('cat /src/one > /out; echo x > /w/new', {
    mounts: [bind(sources, '/src', { path: '/dir' }), bind(scratch(), '/w', { writable: true })],
  });
  const first = await build(builds, reads, { 'dir/one': '1', other: 'a' });
  assert.equal(await builds.text(first.tree.id, 'out'), '1');
  const second = await build(builds, reads, { 'dir/one': '1', other: 'b' });
  assert.equal(second.cachedVertices, second.vertices);
  await assert.rejects(build(builds, image('base').run('echo > /src/x', { mounts: [bind(sources, '/src')] }), { f: '' }), {
    code: 'BUILD_STEP_FAILED',
  });
});

const folder = (t: TestContext, files: Record<string, string>): string => {
  const path = mkdtempSync(join(tmpdir(), 'slipway-describe-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return path;
};
const input = { args: { VERSION: '1' }, target: 'test' };

test('a module of TypeScript describes a build, with what it imports from its package', async (t) => {
  const path = folder(t, {
    'package.json': '{"type":"module"}',
    'deep/parts.ts': "export const names: readonly string[] = ['x', 'y'];",
    'deep/build.ts': `
      import { readFileSync } from 'node:fs';
      import { build, image, merge } from 'slipway/build';
      import { names } from './parts.ts';
      console.log('told to the terminal');
      export default build(async ({ args, target }) => {
        const base = image('node:' + args.VERSION).env('TARGET', target);
        JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
        return merge(base, ...names.map((name) => base.run('make ' + name)));
      });`,
  });
  const text = await describeBuild(join(path, 'deep/build.ts'), input);
  const { steps, image: config } = JSON.parse(text) as BuildDefinition;
  assert.deepEqual(
    steps.map(({ kind }) => kind),
    ['image', 'run', 'run', 'merge'],
  );
  assert.deepEqual(config, { Env: { TARGET: 'test' } });
});

test('a module that never ends, or takes all memory, is ended', async (t) => {
  const cases: [body: string, limits: { timeoutMs?: number; memoryBytes?: number }, message: RegExp][] = [
    ['for (;;) {}', { timeoutMs: 700 }, /it did not end within 0\.7 s/],
    ['await new Promise((settle) => setInterval(() => {}, 1000))', { timeoutMs: 700 }, /it did not end within 0\.7 s/],
    [
      'const kept = []; for (;;) kept.push(Buffer.alloc(1 << 20, 1))',
      { memoryBytes: 150 * 2 ** 20 },
      /it takes more than 150 MiB of memory/,
    ],
  ];
  for (const [body, limits, message] of cases) {
    const path = join(folder(t, { 'build.ts': body }), 'build.ts');
    await assert.rejects(describeBuild(path, input, limits), { code: 'DEFINITION_FAILED', message }, body);
  }
  const path = join(
    folder(t, {
      'build.ts': `
    import { build, image } from 'slipway/build';
    export default build(() => { let tree = image('a'); for (;;) tree = tree.run('x'); });`,
    }),
    'build.ts',
  );
  await assert.rejects(describeBuild(path, input, { memoryBytes: 150 * 2 ** 20 }), { message: /it takes more than 150 MiB of memory/ });
});

test('steps of one group have one layer', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', { 'etc/base': 'b' }, {}, true);
  const tree = image('base')
    .run('echo 0 > /z')
    .layer('deps')
    .run('echo 1 > /a')
    .run('echo 2 > /b')
    .mkdir('/d')
    .layer('app')
    .run('echo 3 > /c');
  const built = await build(builds, tree);
  const filled = built.image?.history
    .filter(({ empty_layer }) => empty_layer !== true)
    .map(({ created_by, comment }) => [created_by, comment]);
  assert.deepEqual(filled?.slice(-3), [
    ['RUN echo 0 > /z', 'slipway.build.v1'],
    ['MKDIR /d', 'slipway.build.v1 group deps'],
    ['RUN echo 3 > /c', 'slipway.build.v1 group app'],
  ]);
  assert.equal(built.image?.history.filter(({ comment }) => comment?.startsWith('slipway.build')).length, 5);
});

test('a step waits for what it mounts of the network and of secrets, and says so when they are not there', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', { 'tmp/': { mode: 0o1777 } }, {}, true);
  const tree = image('base').run('cat /run/secrets/token > /seen', { mounts: [secret('token', { required: true })] });
  await assert.rejects(build(builds, tree), { code: 'SECRET_MISSING' });
  const text = JSON.stringify(
    image('base')
      .run('true', { services: [{ name: 'db', from: image('base') }] })
      .definition(),
  );
  await assert.rejects(builds.build(text, {}, { frontend: 'definition' }), { code: 'SERVICE_INVALID', message: /"db" has nothing to run/ });
  const ran = await builds.build(
    JSON.stringify(image('base').run('true', { name: 'old', cacheTtlMs: 0 }).run('true').definition()),
    {},
    { frontend: 'definition' },
  );
  const again = await builds.build(
    JSON.stringify(image('base').run('true', { name: 'old', cacheTtlMs: 0 }).run('true').definition()),
    {},
    { frontend: 'definition' },
  );
  assert.equal(again.image?.id, ran.image?.id);
  assert.deepEqual(
    again.events.flatMap((event) => (event.kind === 'vertex' && event.state === 'running' ? [event.reason] : [])),
    ['its result is older than its cache TTL'],
  );
});

test('a module can only describe', async (t) => {
  const outside = folder(t, { secret: 'no' });
  const cases: [body: string, message: RegExp, hint: RegExp | undefined][] = [
    [`(await import('node:fs')).readFileSync('${outside}/secret')`, /ERR_ACCESS_DENIED/, /only describes/],
    [`(await import('node:fs')).writeFileSync(new URL('./x', import.meta.url), '')`, /ERR_ACCESS_DENIED/, /only describes/],
    [`(await import('node:child_process')).execSync('true')`, /ERR_ACCESS_DENIED/, /only describes/],
    [
      `await new Promise((_, no) => import('node:net').then((net) => net.connect(9, '127.0.0.1').on('error', no)))`,
      /ERR_ACCESS_DENIED/,
      /only describes/,
    ],
    [
      `if (Object.keys(process.env).some((name) => name === 'HOME')) throw new Error('HOME'); throw new Error('nothing of the environment')`,
      /nothing of the environment/,
      undefined,
    ],
    [`process.kill(process.ppid, 0)`, /ERR_ACCESS_DENIED/, /only describes/],
    [`await (await import('node:dns/promises')).lookup('deb.debian.org')`, /ERR_ACCESS_DENIED/, /only describes/],
    [`new (await import('node:worker_threads')).Worker('1', { eval: true })`, /ERR_ACCESS_DENIED/, /only describes/],
    [`process.exit(3)`, /it failed/, undefined],
    [`export default 5`, /the default export gives no tree/, undefined],
    [`const x: number = ;`, /build\.ts:1/, undefined],
  ];
  for (const [body, message, hint] of cases) {
    const path = join(folder(t, { 'build.ts': body }), 'build.ts');
    await assert.rejects(
      describeBuild(path, input),
      (error: Error & { code: string; hint?: string }) =>
        error.code === 'DEFINITION_FAILED' && message.test(error.message) && (hint === undefined || hint.test(error.hint ?? '')),
      body,
    );
  }
  await assert.rejects(describeBuild(join(outside, 'none.ts'), input), /there is no build definition/);
});
