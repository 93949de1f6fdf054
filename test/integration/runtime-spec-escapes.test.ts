import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EmptyNetworks } from './runtime-spec-support.ts';
import { cannotRun, closeHarness, collect, type Harness, makeHarness, run } from './runtime-support.ts';

/** Known ways out of containers. */

const skip = cannotRun;
let harness: Harness;
before(async () => {
  if (skip) return;
  const networks = new EmptyNetworks();
  harness = await makeHarness({}, { networks });
  networks.directory = join(harness.directory, 'run/netns');
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

const helpers = ['/usr/sbin/runc', '/usr/bin/conmon', '/usr/bin/catatonit', '/usr/libexec/podman/catatonit', process.execPath].filter(
  existsSync,
);
const sums = () => helpers.map((path) => createHash('sha256').update(readFileSync(path)).digest('hex'));

async function exec(
  id: string,
  args: string[],
  more: { workingDir?: string } = {},
): Promise<{ stdout: string; stderr: string; exitCode: number | undefined }> {
  const { engine } = harness;
  const record = await engine.execCreate(id, {
    args,
    tty: false,
    openStdin: false,
    attachStdout: true,
    attachStderr: true,
    env: [],
    privileged: false,
    ...more,
  });
  const attachment = await engine.execStart(record.id, { detach: false });
  assert.ok(attachment);
  const output = await collect(attachment);
  const { state } = await engine.execGet(record.id);
  return { ...output, exitCode: state.status === 'exited' ? state.exitCode : undefined };
}

/** Opens whatever runs in the container as /proc/N/exe, again and again, and tries to write through what it opened. */
const overwrite = [
  'while :; do for p in /proc/[0-9]*; do',
  '  case "$(readlink $p/exe 2>/dev/null)" in */busybox*|"") continue;; esac;',
  '  { exec 3< $p/exe; } 2>/dev/null || continue;',
  '  echo seen >> /seen; i=0;',
  '  while [ $i -lt 50 ]; do (echo owned > /proc/self/fd/3) 2>/dev/null && echo written >> /written; i=$((i+1)); done;',
  '  exec 3<&-;',
  'done; done',
].join('\n');

test('a container cannot overwrite the runtime that enters it (CVE-2019-5736)', { skip, timeout: 60_000 }, async () => {
  const before = sums();
  const { record } = await harness.engine.create({ Image: 'busybox', Cmd: ['sh', '-c', overwrite], HostConfig: { NetworkMode: 'none' } });
  await harness.engine.start(record.id);
  // What is run in it is the runtime itself, by way of a script whose interpreter is the program that reads it.
  writeFileSync(join(harness.snapshotter.upper(record.id), 'trap'), '#!/proc/self/exe\n', { mode: 0o755 });
  await harness.engine.stop(record.id, { timeoutSeconds: 0 });
  await harness.engine.start(record.id);
  for (let round = 0; round < 12; round++) await exec(record.id, round % 2 ? ['/trap'] : ['true']).catch(() => undefined);
  const upper = harness.snapshotter.upper(record.id);
  assert.ok(existsSync(join(upper, 'seen')), 'it did get hold of a program of the host');
  assert.equal(existsSync(join(upper, 'written')), false);
  assert.deepEqual(sums(), before);
  await harness.engine.remove(record.id, { force: true });
});

test('nor the one that starts it, when its command is /proc/self/exe', { skip }, async () => {
  const before = sums();
  const lower = join(harness.directory, 'lower');
  symlinkSync('/proc/self/exe', join(lower, 'start-self'));
  for (const command of ['/start-self', '/proc/self/exe'])
    await assert.rejects(run(harness, [command], { HostConfig: { NetworkMode: 'none' } }), /exec: /);
  assert.deepEqual(sums(), before);
});

test('no descriptor of the engine, the monitor or the runtime is open in a container (CVE-2024-21626)', { skip }, async () => {
  const list = 'for f in /proc/self/fd/*; do echo "$f $(readlink $f)"; done';
  const open = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((target) => !/^(pipe:\[\d+\]|\/dev\/null|\/dev\/pts\/\d+|\/proc\/\d+\/fd|)$/.test(target));
  for (const Init of [true, false]) {
    // With a published port the monitor holds a socket for it.
    const { stdout } = await run(harness, ['sh', '-c', list], {
      HostConfig: { NetworkMode: 'bridge', PortBindings: { '80/tcp': [{}] }, Init },
    });
    assert.deepEqual(open(stdout), [], stdout);
  }
  const { record } = await harness.engine.create({ Image: 'busybox', Cmd: ['sleep', '60'], HostConfig: { NetworkMode: 'none' } });
  await harness.engine.start(record.id);
  const { stdout } = await exec(record.id, ['sh', '-c', list]);
  assert.deepEqual(open(stdout), [], stdout);
  const init = await exec(record.id, ['sh', '-c', 'for f in /proc/1/fd/*; do echo "$f $(readlink $f)"; done']);
  assert.deepEqual(
    open(init.stdout).filter((target) => !/^anon_inode:/.test(target)),
    [],
    init.stdout,
  );
  await harness.engine.remove(record.id, { force: true });
});

test('a working directory does not lead through a descriptor to the host, by name or by symlink', { skip }, async () => {
  for (const WorkingDir of [
    '/proc/self/fd/7',
    '/proc/self/fd/../fd/7',
    '//proc/1/cwd',
    '/proc/thread-self/root/etc',
    '/proc/self/task/1/fd/3',
  ])
    await assert.rejects(
      harness.engine.create({ Image: 'busybox', Cmd: ['pwd'], WorkingDir }),
      /would lead out of the container/,
      WorkingDir,
    );
  const lower = join(harness.directory, 'lower');
  for (let fd = 3; fd < 12; fd++) {
    symlinkSync(`/proc/self/fd/${fd}`, join(lower, `fd${fd}`));
    await assert.rejects(
      run(harness, ['cat', '../../../../etc/hostname'], { WorkingDir: `/fd${fd}`, HostConfig: { NetworkMode: 'none' } }),
      /Cannot mkdir: \/fd\d+ is not a directory/,
    );
  }
});

test('nor does that of an added process', { skip }, async () => {
  const { record } = await harness.engine.create({ Image: 'busybox', Cmd: ['sleep', '60'], HostConfig: { NetworkMode: 'none' } });
  await harness.engine.start(record.id);
  for (let fd = 3; fd < 12; fd++) {
    for (const workingDir of [`/proc/self/fd/${fd}`, `/fd${fd}`])
      await assert.rejects(exec(record.id, ['cat', '../../../../etc/hostname'], { workingDir }), /chdir to cwd/, workingDir);
  }
  await harness.engine.remove(record.id, { force: true });
});
