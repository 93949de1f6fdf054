import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { BuildHistory } from '../../src/build/history/history.ts';
import { RecordedBuilder } from '../../src/build/history/recorded-builder.ts';
import type { BuildEvent, Builder, BuildRequest, BuildResult } from '../../src/build/port.ts';
import type { TreeRef } from '../../src/store/model.ts';

const request: BuildRequest = {
  context: { kind: 'tar', file: '/none' },
  dockerfile: { path: 'Dockerfile' },
  buildArgs: {},
  labels: {},
  tags: ['docker.io/library/web:1'],
  noCache: false,
  timestamps: 'first',
  output: { kind: 'image' },
};
const tree = { id: 'a'.repeat(64), content: 'b'.repeat(64) } as TreeRef;

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'slipway-history-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return join(path, 'history');
}

/** A builder that tells these events, and then ends as it is told to. */
function telling(events: readonly BuildEvent[], end: () => Promise<BuildResult>): Builder {
  return {
    async build(_request, { onEvent }) {
      for (const event of events) onEvent(event);
      return end();
    },
  };
}

async function logOf(history: BuildHistory, id: string): Promise<Record<string, unknown>[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of history.log(id)) chunks.push(chunk);
  return Buffer.concat(chunks)
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

const run: BuildEvent = { kind: 'vertex', vertex: 'v', name: 'RUN x', state: 'running' };
const said: BuildEvent = { kind: 'output', vertex: 'v', stream: 'stdout', data: Buffer.from('hello\n') };
const succeed = async (): Promise<BuildResult> => ({
  tree,
  config: { architecture: 'amd64', os: 'linux' },
  vertices: 3,
  cachedVertices: 2,
  durationMs: 5,
});
const options = { onEvent: () => {} };

test('what a build told is kept whole, and how it ended', async (t) => {
  const history = new BuildHistory({ directory: folder(t) });
  await new RecordedBuilder({ builder: telling([run, said, said], succeed), history }).build(request, options);
  const fail = () => Promise.reject(new EngineError('InvalidArgument', 'X', 'it cannot be'));
  await assert.rejects(new RecordedBuilder({ builder: telling([run], fail), history }).build({ ...request, target: 'test' }, options), {
    code: 'X',
  });
  const aborted = AbortSignal.abort();
  await assert.rejects(new RecordedBuilder({ builder: telling([], fail), history }).build(request, { ...options, signal: aborted }));
  const [cancelled, failed, done] = await history.list();
  assert.deepEqual([cancelled?.state, failed?.state, failed?.error, failed?.target], ['cancelled', 'failed', 'it cannot be', 'test']);
  assert.deepEqual(
    [done?.state, done?.name, done?.tags, done?.vertices, done?.cachedVertices, done?.tree],
    ['done', 'Dockerfile', request.tags, 3, 2, tree.id],
  );
  assert.ok((done?.finishedAtMs ?? 0) >= (done?.startedAtMs ?? Infinity));
  const lines = await logOf(history, done?.id ?? '');
  assert.deepEqual(
    lines.map(({ kind, data }) => [kind, data]),
    [
      ['vertex', undefined],
      ['output', 'aGVsbG8K'],
      ['output', 'aGVsbG8K'],
    ],
  );
  assert.equal((await history.get((done?.id ?? '').slice(0, 12))).id, done?.id);
  await assert.rejects(history.get('zzzz'), { code: 'BUILD_NOT_FOUND' });
  await assert.rejects(history.get(''), { code: 'BUILD_NOT_FOUND' });
  await assert.rejects(history.get((done?.id ?? '').slice(0, 4)), { code: 'BUILD_AMBIGUOUS' });
});

test('a build that the engine ended under is told as interrupted, and damaged records as nothing', async (t) => {
  const directory = folder(t);
  const history = new BuildHistory({ directory });
  const recording = await history.begin({ name: 'Dockerfile', tags: [] });
  recording.event(said);
  const torn = await history.begin({ name: 'Dockerfile', tags: [] });
  truncateSync(join(directory, torn.id, 'record.json'), 10);
  writeFileSync(join(directory, 'stray'), '');
  const next = new BuildHistory({ directory });
  await next.recover();
  assert.deepEqual(
    (await next.list()).map(({ id, state }) => [id, state]),
    [[recording.id, 'interrupted']],
  );
  await recording.finish({ state: 'cancelled' });
  await torn.finish({ state: 'cancelled' });
});

test('a check is no build', async (t) => {
  const history = new BuildHistory({ directory: folder(t) });
  const builder = new RecordedBuilder({ builder: telling([said], succeed), history });
  await builder.build({ ...request, output: { kind: 'check' } }, options);
  assert.deepEqual(await history.list(), []);
});

test('a hundred builds are kept, the latest', async (t) => {
  const directory = folder(t);
  const history = new BuildHistory({ directory });
  const builder = new RecordedBuilder({ builder: telling([said], succeed), history });
  for (let count = 0; count < 105; count++) await builder.build({ ...request, tags: [`docker.io/library/n:${count}`] }, options);
  const kept = await history.list();
  assert.equal(kept.length, 100);
  assert.deepEqual(kept[0]?.tags, ['docker.io/library/n:104']);
  assert.equal(readdirSync(directory).length, 100);
});

test('a step with endless output fills neither the memory nor the disk, and the log says what is missing', async (t) => {
  const history = new BuildHistory({ directory: folder(t) });
  const large: BuildEvent = { ...said, data: Buffer.alloc(1 << 20, 'x') };
  const builder = telling(Array<BuildEvent>(64).fill(large), succeed);
  await new RecordedBuilder({ builder, history }).build(request, options);
  const [record] = await history.list();
  const lines = await logOf(history, record?.id ?? '');
  const told = lines.filter(({ kind }) => kind === 'output').length;
  assert.ok(told >= 12 && told < 64, String(told));
  assert.match(String(lines.at(-1)?.message), new RegExp(`^${(64 - told) << 20} bytes of output are not in this log`));
});

test('where nothing can be written, builds run all the same', async (t) => {
  const directory = folder(t);
  writeFileSync(directory, 'a file in the way');
  const builder = new RecordedBuilder({ builder: telling([said], succeed), history: new BuildHistory({ directory }) });
  assert.equal((await builder.build(request, options)).vertices, 3);
});
