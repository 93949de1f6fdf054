import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import type { BuildEvent, BuildRequest, NamedContext } from '../../src/build/port.ts';
import { GivenSecrets } from '../../src/build/secrets.ts';
import type { ImageConfig } from '../../src/oci/image.ts';
import { type BuildBench, type BuildOutcome, openBuilds } from '../support/builds.ts';
import type { Case } from './case.ts';
import { baseFiles, topics } from './topics.ts';

const skip = process.getuid?.() !== 0 && 'needs root';
const caseLabel = 'conformance.case';
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

for (const [topic, cases] of Object.entries(topics)) {
  describe(`Dockerfile: ${topic}`, { skip }, () => {
    let builds: BuildBench;
    before(async () => {
      builds = await openBuilds();
      await builds.image('base', baseFiles, {}, true);
      await builds.image(
        'trigger',
        { f: 'from the image\n' },
        { OnBuild: ['COPY extra /extra', 'ENV triggered=yes'], Labels: { from: 'image' } },
      );
    });
    after(() => builds[Symbol.asyncDispose]());
    for (const row of cases) test(row.name, () => check(builds, row));
  });
}

async function check(builds: BuildBench, row: Case): Promise<void> {
  // An image that exists keeps its history, so each row that looks at one makes an image of its own.
  const own = row.history === undefined ? {} : { [caseLabel]: row.name };
  const request = { ...row.request, labels: { ...row.request?.labels, ...own } };
  const events: BuildEvent[] = [];
  const onEvent = (event: BuildEvent) => void events.push(event);
  const building = builds.build(row.dockerfile, row.files ?? {}, { ...request, ...extras(builds, row), onEvent });
  if (row.error !== undefined) {
    await checkError(building, row);
    if (row.warnings !== undefined) assert.deepEqual(placedWarnings(events), row.warnings);
    return;
  }
  const result = await building;
  const lines = await builds.list(result.tree.id);
  if (row.tree !== undefined) assert.deepEqual(lines, [...row.tree].sort(byPath));
  for (const line of row.has ?? [])
    assert.ok(lines.includes(line), `${line} is in\n${lines.filter((item) => !item.includes(' bin')).join('\n')}`);
  for (const name of row.lacks ?? []) assert.ok(!lines.some((line) => line.split(' ')[1] === name), `${name} is not in the tree`);
  if (row.config !== undefined) assert.deepEqual(plainConfig(result.config), row.config);
  if (row.history !== undefined) assert.deepEqual(addedHistory(result), row.history);
  if (row.warning !== undefined) assert.match(warningsOf(result), row.warning);
  if (row.warnings !== undefined) assert.deepEqual(placedWarnings(result.events), row.warnings);
}

function extras(builds: BuildBench, { name, contexts = {}, secrets = {} }: Case): Partial<BuildRequest> {
  const named = Object.entries(contexts).map(([key, value]): [string, NamedContext] =>
    isImage(value)
      ? [key, { kind: 'image', reference: value.image }]
      : [key, { kind: 'directory', path: builds.context(`named-${name.replace(/\W/g, '-')}-${key.replace(/\W/g, '-')}`, value) }],
  );
  return {
    ...(named.length > 0 ? { contexts: Object.fromEntries(named) } : {}),
    ...(Object.keys(secrets).length > 0
      ? { secrets: new GivenSecrets(Object.entries(secrets).map(([id, value]) => [id, Buffer.from(value)])) }
      : {}),
  };
}

function isImage(value: NonNullable<Case['contexts']>[string]): value is { image: string } {
  return Object.keys(value).length === 1 && typeof value.image === 'string';
}

function placedWarnings(events: readonly BuildEvent[]): string[] {
  const warnings = events.filter((event) => event.kind === 'warning');
  return warnings
    .sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.message < b.message ? -1 : 1))
    .map(({ message, line }) => `${message} (${line})`);
}

async function checkError(building: Promise<unknown>, row: Case): Promise<void> {
  await assert.rejects(building, (error: unknown) => {
    assert.ok(error instanceof EngineError, String(error));
    assert.match(error.message, row.error ?? /./);
    if (row.hint !== undefined) assert.match(error.hint ?? '', row.hint);
    return true;
  });
}

function byPath(a: string, b: string): number {
  const [left = '', right = ''] = [a.split(' ')[1], b.split(' ')[1]];
  // A directory's entries follow it, so names are compared part by part.
  return left.replaceAll('/', '\0') < right.replaceAll('/', '\0') ? -1 : 1;
}

function plainConfig({ config = {} }: ImageConfig): ImageConfig['config'] {
  const { Env = [], Labels = {}, ...rest } = config;
  const env = Env.filter((item) => item !== path);
  const { [caseLabel]: _own, ...labels } = Labels;
  return { ...rest, ...(env.length > 0 ? { Env: env } : {}), ...(Object.keys(labels).length > 0 ? { Labels: labels } : {}) };
}

function addedHistory(result: BuildOutcome): string[] {
  return (result.image?.history ?? [])
    .filter((entry) => entry.comment === 'buildkit.dockerfile.v0')
    .map((entry) => `${entry.empty_layer === true ? '~' : ''}${entry.created_by}`);
}

function warningsOf(result: BuildOutcome): string {
  return result.events.flatMap((event) => (event.kind === 'warning' ? [event.message] : [])).join('\n');
}
