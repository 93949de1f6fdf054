import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { StepProcessRunner } from '../../src/runtime/steps/step-runner.ts';
import { type BuildBench, openBuilds } from '../support/builds.ts';

const runc = findProgram('runc') ?? '';
const skip = process.getuid?.() !== 0 ? 'needs root' : !runc && 'needs runc';
const none = { networkMode: 'none' as const };

type Scene = BuildBench & { run: string; outside: string };

/** Real steps, and a folder of the host that none of them may see or change. */
async function openScene(): Promise<Scene> {
  const run = mkdtempSync(join(tmpdir(), 'slipway-mounts-'));
  const outside = join(run, 'outside');
  mkdirSync(join(outside, 'folder/empty'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'of the host');
  writeFileSync(join(outside, 'folder/file'), '');
  const unused = () => Promise.reject(new Error('these steps have no network'));
  const steps = new StepProcessRunner({
    runtime: new OciRuntime({ name: 'runc', command: runc, root: join(run, 'runtime') }),
    networks: { attach: unused, detach: unused, attached: async () => [] } as never,
    paths: { run },
    rootId: `mounts${process.pid}`,
  });
  const builds = await openBuilds({ steps });
  await builds.image('base', { 'etc/passwd': 'root:x:0:0::/root:/bin/sh\n' }, {}, true);
  const dispose = async () => {
    await steps.close();
    await builds[Symbol.asyncDispose]();
    rmSync(run, { recursive: true, force: true });
  };
  return { ...builds, run, outside, [Symbol.asyncDispose]: dispose };
}

function assertUntouched({ outside, store, run }: Scene): void {
  assert.deepEqual(readdirSync(outside, { recursive: true }).sort(), ['folder', 'folder/empty', 'folder/file', 'secret']);
  assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'of the host');
  assert.deepEqual(readdirSync(join(store.paths.root, 'snapshots')), []);
  assert.deepEqual(readdirSync(join(run, 'steps')), []);
}

// CVE-2024-23651: a cache mount's source was checked and then mounted by its path, which another build with the same cache changed between.

test('two builds that share a cache and swap folders for symlinks in it reach nothing outside of it', { skip }, async () => {
  await using scene = await openScene();
  const { outside } = scene;
  const cache = '--mount=type=cache,id=shared,target=/cache';
  const swap = `i=0; while [ $i -lt 60 ]; do rm -rf /cache/sub; ln -s ${outside} /cache/sub; rm -f /cache/sub; mkdir /cache/sub; i=$((i+1)); done; touch /cache/swapped`;
  const swapping = scene.build(`FROM base\nRUN ${cache} ${swap}`, {}, none);
  // Meanwhile others mount the same cache, and below it, and write to where the folder may just be a link.
  const inner = '--mount=type=cache,id=inner,target=/cache/sub/deep';
  const look = 'cat /cache/sub/secret /cache/sub/deep/secret 2>/dev/null; echo x > /cache/sub/new; rm -rf /cache/sub/folder; true';
  const outcomes = await Promise.allSettled(
    Array.from({ length: 6 }, (_, i) => scene.build(`FROM base\nRUN ${cache} ${i % 2 === 0 ? inner : ''} : ${i}; ${look}`, {}, none)),
  );
  await swapping;
  for (const outcome of outcomes) {
    // A mount point that is pulled away may fail a step; it may not lead it elsewhere.
    if (outcome.status === 'fulfilled') assert.doesNotMatch(outcome.value.output, /of the host/);
    else assert.match(String(outcome.reason), /step|exit code|mount/);
  }
  assert.ok(outcomes.some(({ status }) => status === 'fulfilled'));
  assertUntouched(scene);
});

test('a symlink left in a cache leads a later mount below it nowhere on the host', { skip }, async () => {
  await using scene = await openScene();
  const { outside } = scene;
  const cache = '--mount=type=cache,id=c,target=/cache';
  await scene.build(`FROM base\nRUN ${cache} ln -s ${outside} /cache/link`, {}, none);
  const below = `RUN ${cache} --mount=type=cache,id=d,target=/cache/link/made/deep touch /cache/link/made/deep/here; cat /cache/link/secret; true`;
  const built = await scene.build(`FROM base\n${below}`, {}, none).catch((error: Error) => error);
  if (!(built instanceof Error)) assert.doesNotMatch(built.output, /of the host/);
  assertUntouched(scene);
});

test('the source of a bind mount is resolved inside its stage, also through links and ..', { skip }, async () => {
  await using scene = await openScene();
  const { outside } = scene;
  const stage = `FROM base AS from\nRUN mkdir /d && ln -s ${outside} /d/link && ln -s ../../../../../../../..${outside} /d/up`;
  for (const source of ['/d/link', '/d/up', '/d/link/folder', '/../../../..', `/../../..${outside}`]) {
    const step = `FROM base\nRUN --mount=from=from,source=${source},target=/m,rw cat /m/secret; ls /m; echo x > /m/new; true`;
    const built = await scene.build(`${stage}\n${step}`, {}, none).catch((error: Error) => error);
    if (built instanceof Error) assert.match(built.message, /does not exist|cannot be mounted/, source);
    else assert.doesNotMatch(built.output, /of the host/, source);
  }
  assertUntouched(scene);
});

// CVE-2024-23652: what was made for mount points was removed after the step by its path, which the step could lead out of the root by then.

test('clean-up after a step removes nothing outside, whatever became of the mount points', { skip }, async () => {
  await using scene = await openScene();
  const { outside } = scene;
  const mount = '--mount=type=tmpfs,target=/a/folder/empty --mount=type=cache,id=x,target=/a/folder/file';
  /** Each with what it leaves; of what was made for the mounts, only what the step has touched stays. */
  const steps: [string, string[]][] = [
    [
      `mv /a /b && ln -s ${outside} /a`,
      [`l a 777 0:0 -> ${outside}`, 'd b 755 0:0', 'd b/folder 755 0:0', 'd b/folder/empty 755 0:0', 'd b/folder/file 755 0:0'],
    ],
    [
      `mv /a/folder /a/moved && ln -s ${outside}/folder /a/folder`,
      ['d a 755 0:0', `l a/folder 777 0:0 -> ${outside}/folder`, 'd a/moved 755 0:0', 'd a/moved/empty 755 0:0', 'd a/moved/file 755 0:0'],
    ],
    [
      `mv /a /b && echo mine > /a && rm -r /b`,
      ['f a 644 0:0 "mine\\n"', 'd b 755 0:0', 'd b/folder 755 0:0', 'd b/folder/empty 755 0:0', 'd b/folder/file 755 0:0'],
    ],
    [`umount /a/folder/empty; rmdir /a/folder/empty; ln -sfn ${outside}/folder/empty /a/folder/empty`, []],
    [`rm -rf /a; ln -s ${outside} /a/beside`, ['d a 755 0:0', `l a/beside 777 0:0 -> ${outside}`]],
  ];
  for (const [step, left] of steps) {
    const built = await scene.build(`FROM base\nRUN ${mount} ${step} ; true\nRUN cat /a/secret /b/secret 2>/dev/null; true`, {}, none);
    assert.doesNotMatch(built.output, /of the host/, step);
    const tree = (await scene.list(built.tree.id)).filter((line) => !/^. (?:bin|etc)/.test(line));
    assert.deepEqual(tree, left, step);
    assertUntouched(scene);
  }
});

test('a mount point below a symlink to a path of the host is made, used and removed inside the root', { skip }, async () => {
  await using scene = await openScene();
  const { outside } = scene;
  const targets = ['/link/folder/empty', '/link/new/one', '/up/folder/file', '/link/secret'];
  for (const target of targets) {
    const links = `RUN ln -s ${outside} /link && ln -s ../../../../../../..${outside} /up`;
    const step = `RUN --mount=type=cache,id=m,target=${target} touch ${target}/in-the-cache && cat /link/secret; true`;
    const built = await scene.build(`FROM base\n${links}\n${step}`, {}, none).catch((error: Error) => error);
    if (built instanceof Error) assert.match(built.message, /step|mount/, target);
    else {
      assert.doesNotMatch(built.output, /of the host/, target);
      const tree = await scene.list(built.tree.id);
      assert.ok(!tree.some((line) => line.includes('in-the-cache')), tree.join('\n'));
    }
    assert.equal(existsSync(join(outside, 'in-the-cache')), false);
    assertUntouched(scene);
  }
});

// CVE-2024-23653: a step with more rights than its builder was entitled to give.

test('a step has no more rights than any other, whatever asks for more', { skip }, async () => {
  await using scene = await openScene();
  await assert.rejects(scene.build('FROM base\nRUN --security=insecure true', {}, none), { kind: 'Denied', code: 'ENTITLEMENT_MISSING' });
  const insecure = { ...none, entitlements: ['security.insecure'] };
  await assert.rejects(scene.build('FROM base\nRUN --security=insecure true', {}, insecure), {
    kind: 'Denied',
    code: 'ENTITLEMENT_DENIED',
  });
  await assert.rejects(scene.build('FROM base\nRUN --security=privileged true', {}, none), { kind: 'InvalidArgument' });
  await assert.rejects(scene.build('FROM base\nRUN --device=vendor.com/gpu=all true', {}, none));
  // A frontend of the Dockerfile's own choice, which could ask for what Dockerfiles cannot, is never run: this one would be an image that does not exist.
  const frontend = '# syntax=evil.invalid/frontend:1\nFROM base\nRUN true';
  const chosen = await scene.build(frontend, {}, none).catch((error: Error) => error);
  if (chosen instanceof Error) assert.doesNotMatch(chosen.message, /evil\.invalid.*(pull|lookup|resolve)/);
  const probe = [
    'cat /proc/self/status',
    'mount -t tmpfs none /mnt && echo MOUNTED',
    'mknod /dev/sda b 8 0 && echo NODE',
    'echo 1 > /proc/sys/kernel/sysrq && echo SYSCTL',
    'chroot / true; ls /sys/kernel/debug | head -1',
    'true',
  ].join('; ');
  const built = await scene.build(`FROM base\nRUN ${probe}`, {}, none);
  assert.match(built.output, /CapEff:\s+00000000a80425fb/);
  assert.match(built.output, /NoNewPrivs:\s+[01]/);
  assert.match(built.output, /Seccomp:\s+2/);
  assert.doesNotMatch(built.output, /MOUNTED|SYSCTL/);
  assertUntouched(scene);
});
