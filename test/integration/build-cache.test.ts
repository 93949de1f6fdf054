import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CachePolicy } from '../../src/build/cache/speed.ts';
import type { BuildEvent, CacheExport, CacheLocation } from '../../src/build/port.ts';
import { type BuildBench, type Files, openBuilds } from '../support/builds.ts';

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
  // The step on the second host found what the first one's had left.
  const { output } = await second.build('FROM base\nRUN --mount=type=cache,target=/cache cat /cache/log', {});
  assert.equal(output, '');
  const seen = await second.build('FROM base\nRUN --mount=type=cache,id=/cache,target=/x cat /x/log', {});
  assert.equal(seen.output, 'cached\ncached\n');
});

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
