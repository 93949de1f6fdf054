import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cannotRun, closeHarness, type Harness, makeHarness, run } from './runtime-support.ts';

const skip = cannotRun;
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

async function lines(id: string, options: Parameters<Harness['logs']['read']>[1] = {}): Promise<string[]> {
  const found: string[] = [];
  for await (const { line } of harness.logs.read(id, options)) found.push(line.toString());
  return found;
}

test('a long line is one line again, and a last one without a newline is there', { skip }, async () => {
  const { id } = await run(harness, ['sh', '-c', 'head -c 100000 /dev/zero | tr "\\0" "a"; echo; printf tail']);
  assert.deepEqual(await lines(id), ['a'.repeat(100_000), 'tail']);
  assert.deepEqual(await lines(id, { tail: 1 }), ['tail']);
  assert.deepEqual(await lines(id, { tail: 2 }), ['a'.repeat(100_000), 'tail']);
});

test('tail, since, until and streams', { skip }, async () => {
  const { id } = await run(harness, ['sh', '-c', 'for i in $(seq 1 300); do echo $i; done; sleep 0.05; echo late >&2']);
  assert.deepEqual(await lines(id, { tail: 3 }), ['299', '300', 'late']);
  assert.deepEqual(await lines(id, { tail: 2, stderr: false }), ['299', '300']);
  assert.deepEqual(await lines(id, { tail: 0 }), []);
  const all = [];
  for await (const line of harness.logs.read(id, {})) all.push(line);
  const last = all.at(-1)?.timeNs ?? 0n;
  assert.deepEqual(await lines(id, { sinceNs: last }), ['late']);
  assert.equal((await lines(id, { untilNs: last - 1n })).length, 300);
});

test('follow shows what comes, over rotations, until the end; rotation under load loses no line', { skip }, async () => {
  const count = 60_000;
  const { record } = await harness.engine.create({
    Image: 'busybox',
    // Bursts with a pause: as fast as it can, and still long enough for several rotations.
    Cmd: ['sh', '-c', `i=0; while [ $i -lt ${count} ]; do echo "line $i"; i=$((i+1)); [ $((i % 4000)) = 0 ] && sleep 0.1; done`],
    HostConfig: { NetworkMode: 'none', LogConfig: { Type: 'json-file', Config: { 'max-size': '100k', 'max-file': '1000' } } },
  });
  await harness.engine.start(record.id);
  const followed = lines(record.id, { follow: true });
  let rotating = true;
  const rotation = (async () => {
    while (rotating) {
      for (const spool of harness.engine.spools()) await harness.rotator.check(spool);
      await sleep(5);
    }
  })();
  await harness.engine.wait(record.id);
  rotating = false;
  await rotation;
  const expected = Array.from({ length: count }, (_, index) => `line ${index}`);
  assert.deepEqual(await lines(record.id), expected);
  assert.deepEqual(await followed, expected);
  const files = readdirSync(join(harness.directory, 'root/containers', record.id, 'log'));
  assert.ok(files.filter((name) => /^spool\.\d+$/.test(name)).length >= 2, files.join(' '));
});

test('no more files are kept than was asked', { skip }, async () => {
  const { record } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sh', '-c', 'while true; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done'],
    HostConfig: { NetworkMode: 'none', LogConfig: { Type: 'json-file', Config: { 'max-size': '64k', 'max-file': '2' } } },
  });
  await harness.engine.start(record.id);
  for (let round = 0; round < 30; round++) {
    for (const spool of harness.engine.spools()) await harness.rotator.check(spool);
    await sleep(10);
  }
  const files = readdirSync(join(harness.directory, 'root/containers', record.id, 'log')).filter(
    (name) => name.startsWith('spool') && name !== 'spool.tmp',
  );
  await harness.engine.remove(record.id, { force: true });
  assert.ok(files.length <= 2, files.join(' '));
  assert.deepEqual(harness.errors, []);
});

test('an abort ends a follow', { skip }, async () => {
  const { record } = await harness.engine.create({ Image: 'busybox', Cmd: ['sleep', '60'], HostConfig: { NetworkMode: 'none' } });
  await harness.engine.start(record.id);
  const abort = new AbortController();
  const following = lines(record.id, { follow: true, signal: abort.signal });
  await sleep(20);
  abort.abort();
  await assert.rejects(following, { name: 'AbortError' });
  await harness.engine.remove(record.id, { force: true });
});
