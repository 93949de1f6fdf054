import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { openBuilds } from '../support/builds.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };

test('an unchanged build runs nothing and gives the same image', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile =
    'FROM base AS build\nWORKDIR /src\nCOPY . .\nRUN cat a b > out\nFROM scratch\nCOPY --from=build /src/out /\nCMD ["/out"]\n';
  const files = { a: 'one\n', b: 'two\n' };
  const first = await builds.build(dockerfile, files);
  assert.equal(await builds.text(first.tree.id, 'out'), 'one\ntwo\n');
  assert.deepEqual([first.vertices, first.cachedVertices], [4, 0]);
  const second = await builds.build(dockerfile, files);
  assert.deepEqual([second.vertices, second.cachedVertices], [4, 4]);
  assert.equal(second.image?.id, first.image?.id);
  assert.equal(builds.steps.runs, 1);
});

test('a change that a step does not read leaves the step cached, and an equal result stops the rebuild', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile = [
    'FROM base',
    'COPY package.json /app/',
    'RUN cat /app/package.json > /app/installed; date > /tmp-is-not-here || true; rm -f /tmp-is-not-here',
    'COPY src /app/src',
    'RUN cat /app/src/* | head -n 1 > /app/first',
    'RUN cat /app/first > /app/second',
  ].join('\n');
  const files = { 'package.json': '{}', 'src/a.txt': 'head\nbody\n' };
  const first = await builds.build(dockerfile, files);
  assert.equal(builds.steps.runs, 3);
  const changed = await builds.build(dockerfile, { ...files, 'src/a.txt': 'head\nother body\n' });
  assert.deepEqual(changed.ran, ['COPY src /app/src', 'RUN cat /app/src/* | head -n 1 > /app/first', 'RUN cat /app/first > /app/second']);
  assert.equal(await builds.text(changed.tree.id, 'app/second'), 'head\n');
  assert.notEqual(first.tree.id, changed.tree.id);
});

test('early cutoff: a RUN whose result equals the earlier one keeps everything after it cached', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile = [
    'FROM base AS build',
    'COPY note /note',
    'RUN head -n 1 /note > /result && rm /note && touch /result',
    'RUN cat /result /result > /twice',
    'FROM scratch',
    'COPY --from=build /twice /twice',
  ].join('\n');
  const first = await builds.build(dockerfile, { note: 'same\nfirst\n' });
  const second = await builds.build(dockerfile, { note: 'same\nsecond\n' });
  assert.deepEqual(second.ran, ['COPY note /note', 'RUN head -n 1 /note > /result && rm /note && touch /result']);
  assert.equal(second.image?.id, first.image?.id);
  assert.equal(second.tree.id, first.tree.id);
});

test('a fresh clone with other times is the same context', needsRoot, async () => {
  await using builds = await openBuilds();
  const path = builds.context('clone', { a: 'one', 'd/b': 'two' });
  const build = () => builds.build('FROM scratch\nCOPY . /\n', {}, { context: { kind: 'directory', path } });
  const first = await build();
  utimesSync(join(path, 'a'), 1_000_000_000, 1_000_000_000);
  utimesSync(join(path, 'd'), 1_000_000_000, 1_000_000_000);
  const second = await build();
  assert.equal(second.image?.id, first.image?.id);
  assert.equal(second.cachedVertices, 1);
});

test('--no-cache runs everything, and later builds use what it made', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile =
    'FROM base\nRUN date +%s%N > /now; cat /proc/sys/kernel/random/uuid > /now 2>/dev/null || stat -c %Z /now > /now\nRUN cat /now > /copy\n';
  const first = await builds.build(dockerfile);
  writeFileSync(join(builds.folder, 'tick'), '');
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const fresh = await builds.build(dockerfile, {}, { noCache: true });
  assert.equal(fresh.cachedVertices, 0);
  assert.notEqual(await builds.text(fresh.tree.id, 'now'), await builds.text(first.tree.id, 'now'));
  const later = await builds.build(dockerfile);
  assert.equal(later.tree.id, fresh.tree.id);
  assert.equal(later.cachedVertices, 2);
  const evenLater = await builds.build(dockerfile);
  assert.equal(evenLater.image?.id, later.image?.id);
});

test('a failed step names its place, is not cached and leaves no snapshot', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile = 'FROM base\nRUN echo before && echo broken >&2 && false\n';
  for (let attempt = 0; attempt < 2; attempt++) {
    await assert.rejects(builds.build(dockerfile), (error: unknown) => {
      assert.ok(error instanceof EngineError);
      assert.equal(error.code, 'BUILD_STEP_FAILED');
      assert.match(error.message, /^Dockerfile:2:1: .* exit code 1\n {2}2 \| RUN echo before/);
      return true;
    });
  }
  assert.equal(builds.steps.runs, 2);
  assert.deepEqual(readdirSync(join(builds.store.paths.root, 'snapshots')), []);
});

test('a cancelled build stops its process, leaves nothing and caches nothing', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile = 'FROM base\nRUN echo started; sleep 30\n';
  const controller = new AbortController();
  const startedAt = performance.now();
  const build = builds.build(
    dockerfile,
    {},
    {
      signal: controller.signal,
      onEvent: (event) => {
        if (event.kind === 'output') controller.abort();
      },
    },
  );
  await assert.rejects(build, (error: unknown) => error instanceof EngineError && error.kind === 'Cancelled');
  assert.ok(performance.now() - startedAt < 25_000);
  assert.deepEqual(readdirSync(join(builds.store.paths.root, 'snapshots')), []);
});

test('concurrent builds share a step; one that is cancelled does not take it from the other', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile = 'FROM base\nRUN echo once; sleep 1; echo done > /result\n';
  const controller = new AbortController();
  const cancelled = builds.build(
    dockerfile,
    {},
    {
      signal: controller.signal,
      onEvent: (event) => {
        if (event.kind === 'output') setTimeout(() => controller.abort(), 100);
      },
    },
  );
  const kept = builds.build(dockerfile);
  const [first, second] = await Promise.allSettled([cancelled, kept]);
  assert.equal(first.status, 'rejected');
  assert.equal(second.status, 'fulfilled');
  assert.equal(builds.steps.runs, 1);
  assert.match(second.status === 'fulfilled' ? second.value.output : '', /once/);
});

test('independent stages run at the same time', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const stage = (name: string) => `FROM base AS ${name}\nRUN sleep 1; echo ${name} > /${name}\n`;
  const dockerfile = `${stage('a')}${stage('b')}FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n`;
  const result = await builds.build(dockerfile);
  const steps = result.events.flatMap((event) => (event.kind === 'vertex' && /sleep/.test(event.name) ? [event.state] : []));
  assert.deepEqual(steps, ['running', 'running', 'done', 'done']);
  assert.deepEqual(await builds.list(result.tree.id), ['f a 644 0:0 "a\\n"', 'f b 644 0:0 "b\\n"']);
});

test('a context that no stage uses is not read', needsRoot, async () => {
  await using builds = await openBuilds();
  const result = await builds.build('FROM scratch\nENV a=b\n', { big: 'x' });
  assert.ok(!result.events.some((event) => event.kind === 'vertex' && /context/.test(event.name)));
});

test('cache mounts outlive builds and are not in the image', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const build = (text: string) =>
    builds.build(`FROM base\nRUN --mount=type=cache,target=/cache echo ${text} >> /cache/log && cp /cache/log /log\n`);
  assert.equal(await builds.text((await build('one')).tree.id, 'log'), 'one\n');
  const second = await build('two');
  assert.equal(await builds.text(second.tree.id, 'log'), 'one\ntwo\n');
  assert.ok(!(await builds.list(second.tree.id)).some((line) => line.includes(' cache')));
});

test('bind and tmpfs mounts show files without keeping them', needsRoot, async () => {
  await using builds = await openBuilds();
  await builds.image('base', {}, {}, true);
  const dockerfile = [
    'FROM base AS tools',
    'RUN mkdir /t && echo tool > /t/x',
    'FROM base',
    'RUN --mount=target=/ctx --mount=from=tools,source=/t,target=/tools,rw --mount=type=tmpfs,target=/scratch cat /ctx/a /tools/x > /out && touch /scratch/y && touch /tools/z',
  ].join('\n');
  const result = await builds.build(dockerfile, { a: 'context\n' });
  assert.equal(await builds.text(result.tree.id, 'out'), 'context\ntool\n');
  assert.deepEqual(
    (await builds.list(result.tree.id)).filter((line) => /ctx|tools|scratch/.test(line)),
    [],
  );
});

test('times: source keeps them, epoch fixes them, SOURCE_DATE_EPOCH dates the image', needsRoot, async () => {
  await using builds = await openBuilds();
  const files = { a: { text: 'x', mtime: 1_500_000_000 } };
  const dockerfile = 'FROM scratch\nCOPY a /a\n';
  const time = async (tree: Awaited<ReturnType<typeof builds.build>>['tree']) =>
    (await builds.store.trees.list(tree.id, '' as never))[0]?.mtimeSec;
  const source = await builds.build(dockerfile, files, { timestamps: 'source' });
  assert.equal(await time(source.tree), 1_500_000_000);
  const epoch = await builds.build(dockerfile, files, { timestamps: 'epoch' });
  assert.equal(await time(epoch.tree), 0);
  const dated = await builds.build(dockerfile, files, { timestamps: 'epoch', buildArgs: { SOURCE_DATE_EPOCH: '1400000000' } });
  assert.equal(await time(dated.tree), 1_400_000_000);
  assert.equal(dated.config.created, '2014-05-13T16:53:20.000Z');
  const newer = await builds.build(dockerfile, { a: { text: 'x', mtime: 1_600_000_000 } }, { timestamps: 'source' });
  assert.equal(await time(newer.tree), 1_600_000_000);
});

test('what a crash left of build steps is removed, and containers are left alone', needsRoot, async () => {
  await using builds = await openBuilds();
  const { snapshots } = builds.store.paths;
  for (const id of ['build-11111111-aaaa', 'c'.repeat(64)]) mkdirSync(join(snapshots, id, 'upper'), { recursive: true });
  await builds.engine.recover();
  assert.deepEqual(readdirSync(snapshots), ['c'.repeat(64)]);
});
