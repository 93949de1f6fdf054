import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isErrno } from '../base/errors.ts';
import { runProgram } from './run-program.ts';
import { type SpawnOptions, spawnProcess } from './spawn.ts';

const env = { PATH: process.env.PATH };

/** Runs a shell script with its output in a file, and gives that and how it ended. */
async function shell(t: TestContext, script: string, options: Partial<SpawnOptions> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-spawn-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const out = openSync(join(directory, 'out'), 'w');
  const child = spawnProcess('sh', ['-c', script], { env, stdio: ['ignore', out, out], ...options });
  const end = await child.ended;
  closeSync(out);
  return { pid: child.pid, end, text: readFileSync(join(directory, 'out'), 'utf8') };
}

test('how a process ended is told: its status, or the signal', async (t) => {
  assert.deepEqual((await shell(t, 'exit 7')).end, { exitCode: 7 });
  assert.deepEqual((await shell(t, 'kill -9 $$')).end, { signal: 9 });
});

test('arguments, environment and directory arrive as they are given', async (t) => {
  const { text } = await shell(t, 'printf "%s|" "$NAME" "$(pwd)"; env | wc -l', {
    env: { PATH: env.PATH, NAME: 'ä "b" $c', GONE: undefined },
    cwd: '/usr',
  });
  assert.match(text, /^ä "b" \$c\|\/usr\|\d+\n$/);
});

test('a process has the descriptors that it is given and no others, also when numbers swap', async (t) => {
  const inherited = openSync('/dev/null', 'r');
  t.after(() => closeSync(inherited));
  const { text } = await shell(t, 'ls /proc/self/fd');
  // The last one is the listing's own.
  assert.deepEqual(text.trim().split('\n').slice(0, 3), ['0', '1', '2']);
  assert.equal(text.trim().split('\n').length, 4);
  const [one, other] = [openSync('/etc/passwd', 'r'), openSync('/etc/group', 'r')];
  const targets: SpawnOptions['stdio'] = Array.from({ length: other + 1 }, (_, fd) => (fd === one ? other : fd === other ? one : 'ignore'));
  const end = await spawnProcess('sh', ['-c', `[ /proc/$$/fd/${one} -ef /etc/group ] && [ /proc/$$/fd/${other} -ef /etc/passwd ]`], {
    env,
    stdio: targets,
  }).ended;
  for (const fd of [one, other]) closeSync(fd);
  assert.deepEqual(end, { exitCode: 0 });
});

test('signals that Node ignores are not ignored below it', async (t) => {
  const { text } = await shell(t, 'grep SigIgn /proc/$$/status');
  // Signals 32 and 33 are glibc's own.
  assert.match(text, /^SigIgn:\s+0+[0-9a-f]80000000$/m);
});

test('a session of its own is asked for', async (t) => {
  const own = await shell(t, 'cut -d" " -f5,6 /proc/$$/stat', { newSession: true });
  assert.equal(own.text, `${own.pid} ${own.pid}\n`);
  const shared = await shell(t, 'cut -d" " -f6 /proc/$$/stat');
  assert.notEqual(shared.text, `${shared.pid}\n`);
});

test('what cannot be run is an error at once, and leaves nothing to wait for', () => {
  assert.throws(
    () => spawnProcess('/nonexistent/program', [], { env, stdio: [] }),
    (error) => isErrno(error, 'ENOENT'),
  );
  assert.throws(
    () => spawnProcess('no-such-program-anywhere', [], { env, stdio: [] }),
    (error) => isErrno(error, 'ENOENT'),
  );
  assert.throws(
    () => spawnProcess('/etc/passwd', [], { env, stdio: [] }),
    (error) => isErrno(error, 'EACCES'),
  );
  assert.throws(() => spawnProcess('/bin/true', ['a\0b'], { env, stdio: [] }), /zero byte/);
});

test('two hundred at once are all waited for', async () => {
  const children = Array.from({ length: 200 }, (_, index) =>
    spawnProcess('/bin/sh', ['-c', `exit ${index % 7}`], { env, stdio: ['ignore', 'ignore', 'ignore'] }),
  );
  const ends = await Promise.all(children.map(({ ended }) => ended));
  assert.deepEqual(
    ends.map(({ exitCode }) => exitCode),
    children.map((_, index) => index % 7),
  );
  for (const { pid } of children) assert.throws(() => process.kill(pid, 0), /ESRCH/);
});

test('a program that does not end in time is killed with what it started', async () => {
  const start = performance.now();
  const result = await runProgram('sh', ['-c', 'echo begun; sleep 31.4159 & wait'], { env, timeoutMs: 200 });
  assert.equal(result.timedOut, true);
  assert.equal(result.stdout, 'begun\n');
  assert.ok(performance.now() - start < 5_000);
  const left = await runProgram('sh', ['-c', 'grep -l "^sleep.31.4159" /proc/[0-9]*/cmdline 2>/dev/null'], { env, timeoutMs: 5_000 });
  assert.equal(left.stdout, '');
});

test('a program that leaves another one behind is not waited for because of it', async () => {
  const start = performance.now();
  const result = await runProgram('sh', ['-c', 'sleep 3 & echo done'], { env, timeoutMs: 30_000 });
  assert.deepEqual(
    { exitCode: result.exitCode, stdout: result.stdout, timedOut: result.timedOut },
    { exitCode: 0, stdout: 'done\n', timedOut: false },
  );
  assert.ok(performance.now() - start < 2_500);
});

test('input is given and output is kept up to its limit', async () => {
  const echoed = await runProgram('cat', [], { env, timeoutMs: 10_000, input: 'x'.repeat(300_000) });
  assert.equal(echoed.stdout.length, 300_000);
  const cut = await runProgram('sh', ['-c', 'yes | head -c 2000000'], { env, timeoutMs: 10_000, outputLimitBytes: 1_000 });
  assert.equal(cut.exitCode, 0);
  assert.ok(cut.stdout.length < 200_000);
});
