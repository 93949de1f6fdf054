import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type DebuggedStep, GivenSecrets, type StepDebugger } from '../../src/build/port.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { StepProcessRunner } from '../../src/runtime/steps/step-runner.ts';
import { type BuildBench, openBuilds } from '../support/builds.ts';
import { cannotRun } from './runtime-support.ts';

const skip = cannotRun;
const none = { networkMode: 'none' as const };

/** Builds with real steps. */
async function openScene(): Promise<BuildBench & { run: string }> {
  const run = mkdtempSync(join(tmpdir(), 'slipway-debug-'));
  const unused = () => Promise.reject(new Error('these steps have no network'));
  const steps = new StepProcessRunner({
    runtime: new OciRuntime({ name: 'runc', command: '/usr/sbin/runc', root: join(run, 'runtime') }),
    networks: { attach: unused, detach: unused, attached: async () => [] } as never,
    paths: { run },
    rootId: `debug${process.pid}`,
  });
  const builds = await openBuilds({ steps });
  await builds.image('base', { 'etc/passwd': 'root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n' }, {}, true);
  const dispose = async () => {
    await steps.close();
    await builds[Symbol.asyncDispose]();
    rmSync(run, { recursive: true, force: true });
  };
  return { ...builds, run, [Symbol.asyncDispose]: dispose };
}

let scene: Awaited<ReturnType<typeof openScene>>;
before(async () => {
  if (!skip) scene = await openScene();
});
after(() => scene?.[Symbol.asyncDispose]());

function assertNothingLeft({ store, run }: { store: BuildBench['store']; run: string }): void {
  assert.deepEqual(readdirSync(join(store.paths.root, 'snapshots')), []);
  assert.deepEqual(readdirSync(join(run, 'steps')), []);
  assert.deepEqual(readdirSync(join(run, 'runtime')), []);
}

/** What a script says in the failed step. */
async function ask(step: DebuggedStep, script: string): Promise<string> {
  const shell = await step.open({ args: ['sh'], tty: false, stdin: true });
  await shell.attachment.write(Buffer.from(`${script}\n`));
  await shell.attachment.endStdin();
  let text = '';
  for await (const { data } of shell.attachment.output()) text += data.toString();
  await shell.ended;
  return text;
}

test('a failed step is looked into where it failed: files, mounts, secrets, environment, user and directory', { skip }, async () => {
  let said = '';
  let message = '';
  const debug: StepDebugger = {
    async offer(step) {
      message = step.message;
      const script = 'cat made /run/secrets/token /cache/kept; pwd; id -u; echo $LEVEL; echo later >> made';
      said = (await ask(step, script)) + (await ask(step, 'cat made'));
    },
  };
  const dockerfile = [
    'FROM base',
    'RUN mkdir -p /work /home/app && chown 1000:1000 /work',
    'ENV LEVEL=high',
    'WORKDIR /work',
    'USER app',
    'RUN --mount=type=secret,id=token,uid=1000 --mount=type=cache,target=/cache,uid=1000 echo half > made; echo kept > /cache/kept; exit 9',
  ].join('\n');
  const secrets = new GivenSecrets([['token', Buffer.from('s3cret\n')]]);
  await assert.rejects(scene.build(dockerfile, {}, { ...none, debug, secrets }), { code: 'BUILD_STEP_FAILED', exitCode: 9 });
  assert.match(message, /Dockerfile:6:1: .* ended with exit code 9/);
  assert.equal(said, 'half\ns3cret\nkept\n/work\n1000\nhigh\nhalf\nlater\n');
  assertNothingLeft(scene);
});

test('a step that is looked into holds up no other build, neither those of other steps nor those of the same', { skip }, async () => {
  const seen = Promise.withResolvers<void>();
  const offered: (() => void)[] = [];
  const all = Promise.withResolvers<void>();
  const debug: StepDebugger = {
    offer: async () => {
      offered.push(() => undefined);
      if (offered.length === availableParallelism()) all.resolve();
      await seen.promise;
    },
  };
  const failing = Array.from({ length: availableParallelism() }, (_, i) =>
    scene.build(`FROM base\nRUN echo ${i}; false`, {}, { ...none, debug }),
  );
  await all.promise;
  const other = await scene.build('FROM base\nRUN echo other > /made', {}, none);
  assert.equal(await scene.text(other.tree.id, 'made'), 'other\n');
  await assert.rejects(scene.build('FROM base\nRUN echo 0; false', {}, none), { code: 'BUILD_STEP_FAILED' });
  seen.resolve();
  await Promise.all(failing.map((build) => assert.rejects(build, { code: 'BUILD_STEP_FAILED' })));
  assertNothingLeft(scene);
});

test('its shell ends with the build that is cancelled', {
  skip,
}, async () => {
  const abort = new AbortController();
  let ended: Promise<number> | undefined;
  const debug: StepDebugger = {
    async offer(step, signal) {
      const shell = await step.open({ args: ['sleep', '1000'], tty: false, stdin: true });
      ended = shell.ended;
      const gone = new Promise((resolve) => signal.addEventListener('abort', resolve));
      abort.abort();
      await gone;
    },
  };
  await assert.rejects(scene.build('FROM base\nRUN false', {}, { ...none, debug, signal: abort.signal }), { code: 'CANCELLED' });
  assert.equal(await ended, 137);
  assertNothingLeft(scene);
});

test('what the image lacks is told, and the build fails as it did', { skip }, async () => {
  const errors: unknown[] = [];
  const debug: StepDebugger = {
    offer: (step) =>
      step.open({ args: ['bash'], tty: true, stdin: true }).then(
        () => undefined,
        (error) => void errors.push(error),
      ),
  };
  await assert.rejects(scene.build('FROM base\nRUN false', {}, { ...none, debug }), { code: 'BUILD_STEP_FAILED' });
  assert.equal((errors[0] as { code: string }).code, 'COMMAND_NOT_FOUND');
  assertNothingLeft(scene);
});
