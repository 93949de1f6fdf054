import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import type { CachePolicy } from '../../src/build/cache/speed.ts';
import { type BuildEvent, type CacheExport, type CacheLocation, GivenSecrets } from '../../src/build/port.ts';
import { type BuildBench, type Files, openBuilds } from '../support/builds.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { type S3Server, startS3 } from '../support/s3-server.ts';

const dockerfile = `
FROM base AS deps
WORKDIR /app
COPY package.json .
RUN --mount=type=cache,target=/cache cat package.json > deps && echo \${RANDOM_MARK:-cached} >> /cache/log && cp /cache/log seen
FROM deps AS build
COPY . .
RUN cat src/main > built
FROM base
COPY --from=build /app/built /built
RUN echo done > /done
`;
/** Whatever takes long here is waited for: these tests are about what is right. */
const policy: CachePolicy = { patienceMs: 600_000, leastCostMs: 0, graceMs: 600_000, unknownCostMs: 600_000 };
const files: Files = { 'package.json': '{}', 'src/main': 'one' };

test('a fresh host takes every step from a cache in a folder, and makes the same image', async (t) => {
  const place = folder(t);
  await using first = await machine();
  const made = await first.build(dockerfile, files, { cacheTo: [local(place, { mode: 'max' })] });
  assert.equal(made.cached.length, 0);
  await using second = await machine();
  const again = await second.build(dockerfile, files, { cacheFrom: [local(place)] });
  assert.deepEqual(again.ran, []);
  assert.deepEqual(warnings(again.events), []);
  assert.equal(again.tree.id, made.tree.id);
  assert.equal(again.image?.id, made.image?.id);
  assert.deepEqual(again.image?.history, made.image?.history);
});

test('what changed runs, over trees out of the cache; a cache mount comes along', async (t) => {
  const place = folder(t);
  await using first = await machine();
  await first.build(dockerfile, files, { cacheTo: [local(place, { mode: 'max' })] });
  await using second = await machine();
  const changed = await second.build(dockerfile, { ...files, 'src/main': 'two' }, { cacheFrom: [local(place)] });
  assert.deepEqual(
    changed.ran.sort(),
    ['COPY --from=build /app/built /built', 'COPY . .', 'RUN cat src/main > built', 'RUN echo done > /done'].sort(),
  );
  assert.equal(await second.text(changed.tree.id, 'built'), 'two');
  const more = await second.build(dockerfile, { ...files, 'package.json': '{"a":1}' }, { cacheFrom: [local(place)] });
  assert.ok(more.ran.some((name) => name.startsWith('RUN --mount=type=cache')));
  assert.deepEqual(warnings(more.events), []);
  // The step on the second host went on from what the first one's had left.
  const seen = await second.build('FROM base\nRUN --mount=type=cache,target=/cache cat /cache/log', {});
  assert.equal(seen.output, 'cached\ncached\n');
});

for (const [name, open] of [
  ['a registry', registryPlace],
  ['S3', s3Place],
] as const) {
  test(`a fresh host takes every step from ${name}, and only what is new goes up`, {
    skip: name === 'a registry' && needsRegistry.skip,
  }, async (t) => {
    const place = await open(t);
    await using first = await machine();
    const made = await first.build(dockerfile, files, { cacheTo: [{ ...place, mode: 'max' }] });
    const before = exported(made.events);
    const next = await first.build(dockerfile, { ...files, 'src/main': 'two' }, { cacheTo: [{ ...place, mode: 'max' }] });
    assert.ok(exported(next.events) * 5 < before, `${exported(next.events)} bytes went up after ${before}`);
    const idle = await first.build(dockerfile, { ...files, 'src/main': 'two' }, { cacheTo: [{ ...place, mode: 'max' }] });
    assert.equal(exported(idle.events), 0);
    await using second = await machine();
    for (const [text, wanted] of [
      ['two', next],
      ['one', made],
    ] as const) {
      const again = await second.build(dockerfile, { ...files, 'src/main': text }, { cacheFrom: [place] });
      assert.deepEqual([again.ran, warnings(again.events)], [[], []]);
      assert.equal(again.tree.id, wanted.tree.id);
    }
  });
}

test('exports that happen at the same time both stay', async (t) => {
  const place = folder(t);
  await using first = await machine();
  await using second = await machine();
  const step = (mark: string) => `FROM base\nRUN echo ${mark} > /mark`;
  const cacheTo = [local(place)];
  const builds = await Promise.all([first.build(step('one'), {}, { cacheTo }), second.build(step('two'), {}, { cacheTo })]);
  for (const { events } of builds) assert.deepEqual(warnings(events), []);
  await using third = await machine();
  for (const mark of ['one', 'two']) {
    const { ran } = await third.build(step(mark), {}, { cacheFrom: [local(place)] });
    assert.deepEqual(ran, []);
  }
});

test('a cache that is damaged, lies or is none costs a warning; what is damaged is made anew by the next export', async (t) => {
  const place = folder(t);
  await using first = await machine();
  await first.build(dockerfile, files, { cacheTo: [local(place, { mode: 'max' })] });
  const blobs = join(place, 'blobs/sha256');
  for (const spoil of [(bytes: Buffer) => bytes.fill(0, bytes.length >> 1), (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)]) {
    for (const name of readdirSync(blobs)) writeFileSync(join(blobs, name), spoil(readFileSync(join(blobs, name))));
    await using second = await machine();
    const built = await second.build(dockerfile, files, { cacheFrom: [local(place)], cacheTo: [local(place, { mode: 'max' })] });
    assert.equal(await second.text(built.tree.id, 'built'), 'one');
    assert.ok(warnings(built.events).length > 0);
    await using third = await machine();
    const again = await third.build(dockerfile, files, { cacheFrom: [local(place)] });
    assert.deepEqual([again.ran, warnings(again.events)], [[], []]);
    assert.equal(await third.text(again.tree.id, 'built'), 'one');
  }
});

test('packs whose content is not what they say give nothing: every byte is checked', async (t) => {
  const place = folder(t);
  await using first = await machine();
  await first.build(dockerfile, files, { cacheTo: [local(place, { mode: 'max' })] });
  const [entry] = (JSON.parse(readFileSync(join(place, 'index.json'), 'utf8')) as { manifests: { digest: string }[] }).manifests;
  const path = (digest: string) => join(place, 'blobs/sha256', digest.slice(7));
  const manifest = JSON.parse(readFileSync(path(entry?.digest ?? ''), 'utf8')) as { layers: { digest: string; mediaType: string }[] };
  // Of the right length, under the right name.
  const packs = manifest.layers.filter(({ mediaType }) => mediaType.includes('.pack.'));
  assert.ok(packs.length > 0);
  for (const { digest } of packs) writeFileSync(path(digest), readFileSync(path(digest)).reverse());
  await using second = await machine();
  const built = await second.build(dockerfile, files, { cacheFrom: [local(place)], cacheTo: [local(place, { mode: 'max' })] });
  assert.equal(await second.text(built.tree.id, 'built'), 'one');
  assert.ok(built.ran.length > 0);
  assert.match(warnings(built.events).join('\n'), /cannot be taken from the cache/);
  // Whoever found that out has written it anew.
  await using third = await machine();
  assert.deepEqual((await third.build(dockerfile, files, { cacheFrom: [local(place)] })).ran, []);
});

test('a cache that cannot be reached, or never answers, does not keep a build', async (t) => {
  const silent = await startS3(t);
  // Answered when the client goes away: never before the build has ended.
  silent.before = (request) => new Promise((resolve) => request.once('close', () => resolve(true)));
  const hanging: CacheLocation = { ...s3At(silent), kind: 's3' };
  const gone: CacheLocation = { ...s3At(silent), kind: 's3', endpoint: 'http://127.0.0.1:1' };
  await using bench = await openBuilds({ policy: { ...policy, patienceMs: 50 } });
  await bench.image('base', { 'etc/os': 'tiny' }, {}, true);
  const built = await bench.build('FROM base\nRUN echo here > /here', {}, { cacheFrom: [hanging, gone], cacheTo: [gone] });
  assert.equal(await bench.text(built.tree.id, 'here'), 'here\n');
  const told = warnings(built.events).join('\n');
  assert.match(told, /without the cache .*cannot be reached/);
  assert.match(told, /was not written: .*cannot be reached/);
  await assert.rejects(bench.build('FROM base\nRUN echo here > /here', {}, { cacheTo: [{ ...gone, ignoreError: false }] }), {
    kind: 'Unavailable',
  });
});

test('a result that would take longer to fetch than to make is made', async (t) => {
  const place = folder(t);
  await using first = await machine();
  await first.build(dockerfile, files, { cacheTo: [local(place, { mode: 'max' })] });
  await using second = await openBuilds({ policy: { ...policy, leastCostMs: 3600_000 } });
  await second.image('base', { 'etc/os': 'tiny' }, {}, true);
  const built = await second.build(dockerfile, files, { cacheFrom: [local(place)] });
  assert.deepEqual(built.cached, []);
  assert.deepEqual(warnings(built.events), []);
});

test("mode=min has the target's own stage only", async (t) => {
  const place = folder(t);
  await using first = await machine();
  await first.build(dockerfile, files, { cacheTo: [local(place)] });
  await using second = await machine();
  const again = await second.build(dockerfile, files, { cacheFrom: [local(place)] });
  assert.deepEqual(again.ran, []);
  const stage = await second.build(dockerfile, files, { cacheFrom: [local(place)], target: 'build' });
  assert.ok(stage.ran.includes('RUN cat src/main > built'));
});

test('secrets are in nothing that a cache holds', async (t) => {
  const canary = `canary-${randomUUID()}`;
  const server = await startS3(t);
  await using bench = await machine();
  const secrets = new GivenSecrets([['token', Buffer.from(canary)]]);
  const step =
    'FROM base\nRUN --mount=type=secret,id=token --mount=type=cache,target=/c test -s /run/secrets/token && echo used > /c/used && echo done > /done';
  const credentials = { accessKeyId: server.credentials.accessKeyId, secretAccessKey: server.credentials.secretAccessKey };
  await bench.build(step, {}, { secrets, cacheTo: [{ kind: 's3', ...s3At(server), credentials, mode: 'max' }] });
  assert.ok(server.objects.size > 0);
  for (const [key, object] of server.objects) for (const bytes of plainOf(object)) assert.equal(bytes.includes(canary), false, key);
});

test('cache mounts are listed, exported, imported and removed', async () => {
  await using first = await machine();
  await first.build('FROM base\nRUN --mount=type=cache,id=npm,target=/c,sharing=locked echo hello > /c/file', {});
  const [mount] = await first.engine.cacheMounts.list();
  assert.deepEqual([mount?.id, mount?.sharing, mount?.uses, mount?.inUse, mount?.files], ['npm', 'locked', 1, false, 2]);
  const tar = join(first.folder, 'npm.tar');
  writeFileSync(tar, Buffer.concat(await Array.fromAsync(await first.engine.cacheMounts.export('npm', {}))));
  await using second = await machine();
  await second.engine.cacheMounts.import('npm', tar, {});
  const { output } = await second.build('FROM base\nRUN --mount=type=cache,id=npm,target=/c cat /c/file', {});
  assert.equal(output, 'hello\n');
  await first.engine.cacheMounts.remove(mount?.key.slice(0, 12) ?? '');
  assert.deepEqual(await first.engine.cacheMounts.list(), []);
  await assert.rejects(first.engine.cacheMounts.remove('npm'), { code: 'CACHE_MOUNT_NOT_FOUND' });
  await assert.rejects(first.engine.cacheMounts.export('npm', {}), { code: 'CACHE_MOUNT_NOT_FOUND' });
});

type S3Place = Omit<Extract<CacheLocation, { kind: 's3' }>, 'kind'>;

function s3At({ bucket, region, endpoint, credentials }: S3Server): S3Place {
  return { bucket, region, endpoint, credentials, prefix: 'ci/', name: 'app' };
}

async function s3Place(t: TestContext): Promise<CacheLocation> {
  return { kind: 's3', ...s3At(await startS3(t)) };
}

async function registryPlace(t: TestContext): Promise<CacheLocation> {
  const { address } = await startRegistry(t);
  return { kind: 'registry', reference: `${address}/team/cache:main` };
}

/** Bytes that went up. */
function exported(events: readonly BuildEvent[]): number {
  const done = events.find((event) => event.kind === 'vertex' && event.vertex === 'cache-export-0' && event.state === 'done');
  return done?.kind === 'vertex' ? (done.detail?.bytes ?? 0) : Number.NaN;
}

/** An object as it is, and what its zstd frames hold. */
function plainOf(object: Buffer): Buffer[] {
  const magic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
  const plain = [object];
  for (let at = object.indexOf(magic); at >= 0; at = object.indexOf(magic, at + 1)) {
    try {
      plain.push(zstdDecompressSync(object.subarray(at)));
    } catch {
      // Not the beginning of a frame.
    }
  }
  return plain;
}

async function machine(): Promise<BuildBench> {
  const bench = await openBuilds({ policy });
  await bench.image('base', { 'etc/os': 'tiny' }, {}, true);
  return bench;
}

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'slipway-cache-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function local(path: string, more: Partial<CacheExport> = {}): CacheLocation & CacheExport {
  return { kind: 'local', path, ...more } as CacheLocation & CacheExport;
}

function warnings(events: readonly BuildEvent[]): string[] {
  return events.flatMap((event) => (event.kind === 'warning' ? [event.message] : []));
}
