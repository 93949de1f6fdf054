import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { StepProcessRunner } from '../../src/runtime/steps/step-runner.ts';
import { type BuildBench, openBuilds } from '../support/builds.ts';

const runc = '/usr/sbin/runc';
const skip = process.getuid?.() !== 0 ? 'needs root' : !existsSync(runc) && 'needs runc';

/** Builds whose steps are real containers, without a network of their own. */
async function openIsolated(): Promise<BuildBench & { run: string }> {
  const run = mkdtempSync(join(tmpdir(), 'slipway-steps-'));
  const unused = () => Promise.reject(new Error('these steps have no network'));
  const steps = new StepProcessRunner({
    runtime: new OciRuntime({ name: 'runc', command: runc, root: join(run, 'runtime') }),
    networks: { attach: unused, detach: unused, attached: async () => [] } as never,
    paths: { run },
    rootId: `test${process.pid}`,
  });
  const builds = await openBuilds({ steps });
  const dispose = async () => {
    await steps.close();
    await builds[Symbol.asyncDispose]();
    rmSync(run, { recursive: true, force: true });
  };
  return { ...builds, run, [Symbol.asyncDispose]: dispose };
}

test('RUN steps in containers: output, user, mounts, what stays and what does not', { skip }, async () => {
  await using builds = await openIsolated();
  await builds.image('base', { 'etc/passwd': 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n', 'w/': { mode: 0o777 } }, {}, true);
  const dockerfile = [
    'FROM base',
    'WORKDIR /w',
    'RUN --mount=type=cache,target=/cache --mount=target=/ctx --mount=type=tmpfs,target=/scratch cp /ctx/a . && touch /cache/c /scratch/s && echo out && echo err >&2',
    'USER app',
    'RUN id > who',
    'RUN <<EOF',
    '#!/bin/busybox sh',
    'echo from $0 > script',
    'EOF',
  ].join('\n');
  const result = await builds.build(dockerfile, { a: 'x' }, { networkMode: 'none' });
  assert.match(result.output, /out/);
  assert.match(result.output, /err/);
  const tree = (await builds.list(result.tree.id)).filter((line) => !/ bin/.test(line));
  assert.deepEqual(tree, [
    'd etc 755 0:0',
    'f etc/passwd 644 0:0 "root:x:0:0::/root:/bin/sh\\napp:x:1000:1001::/:/bin/sh\\n"',
    'd w 777 0:0',
    'f w/a 644 0:0 "x"',
    'f w/script 644 1000:1001 "from /dev/pipes/EOF\\n"',
    'f w/who 644 1000:1001 "uid=1000(app) gid=1001\\n"',
  ]);
  const again = await builds.build(dockerfile, { a: 'x' }, { networkMode: 'none' });
  assert.equal(again.cachedVertices, again.vertices);
  await assert.rejects(builds.build('FROM base\nRUN ["/nothing"]', {}, { networkMode: 'none' }), /^EngineError: Dockerfile:2:1: .*nothing/);
  await assert.rejects(builds.build('FROM base\nRUN exit 7', {}, { networkMode: 'none' }), /exit code 7/);
  assert.deepEqual(readdirSync(join(builds.store.paths.root, 'snapshots')), []);
  assert.deepEqual(readdirSync(join(builds.run, 'steps')), []);
});

test('a step that forks and ignores signals is gone when its build is cancelled', { skip }, async () => {
  await using builds = await openIsolated();
  await builds.image('base', {}, {}, true);
  const controller = new AbortController();
  const build = builds.build(
    "FROM base\nRUN trap '' TERM INT; (sleep 60 &) ; echo up; sleep 60",
    {},
    {
      networkMode: 'none',
      signal: controller.signal,
      onEvent: (event) => {
        if (event.kind === 'output') controller.abort();
      },
    },
  );
  await assert.rejects(build, { kind: 'Cancelled' });
  assert.deepEqual(readdirSync(join(builds.store.paths.root, 'snapshots')), []);
  assert.deepEqual(readdirSync(join(builds.run, 'steps')), []);
});
