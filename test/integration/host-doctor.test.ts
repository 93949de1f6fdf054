import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inspectHost } from '../../src/host/inspect.ts';
import { notifyReady } from '../../src/host/notify.ts';
import { requiredPackages } from '../../src/host/packages.ts';
import { findProgram, probeProgram, programItem } from '../../src/host/programs.ts';
import type { HostReport } from '../../src/host/report.ts';

const doctor = fileURLToPath(new URL('../../src/host/doctor.ts', import.meta.url));
const places = { root: '/var/lib/slipway', run: '/run/slipway' };

type Outcome = { code: number; stdout: string; stderr: string };

function run(args: string[]): Promise<Outcome> {
  return node([doctor, ...args], {});
}

function node(args: string[], env: Record<string, string>): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'slipway-host-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

async function script(directory: string, name: string, body: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

test('doctor tells the same in text and in JSON, and its status follows', async () => {
  const [text, json] = await Promise.all([run([]), run(['--json'])]);
  const report = JSON.parse(json.stdout) as HostReport;
  assert.equal(json.code, report.ready ? 0 : 1);
  assert.equal(text.code, json.code);
  for (const { name } of report.items) assert.ok(text.stdout.includes(name), name);
  for (const { status, why, name } of report.items) if (status !== 'ok') assert.ok(why, `${name} says what its absence means`);
  for (const { why } of Object.values(report.choices)) assert.ok(why.length > 10);
  assert.ok(!text.stdout.includes('\u001b'), 'no colours into a pipe');
});

test('without root doctor works, and says what it cannot know and why the engine needs root', {
  skip: process.getuid?.() !== 0 && 'needs root to become somebody else',
}, async () => {
  // Loaded as root: the checkout may lie where nobody else may look.
  const program = `const { main } = await import(${JSON.stringify(doctor)}); process.setgid(65534); process.setuid(65534); process.exitCode = await main([]);`;
  const { code, stdout } = await node(['--input-type=module', '-e', program], { HOME: '/nonexistent' });
  assert.equal(code, 0);
  assert.match(stdout, /Not looked at, for want of root:/);
  assert.match(stdout, /The engine itself must run as root: it mounts file systems/);
});

test('a wrong command line is refused with the usage', async () => {
  const { code, stderr } = await run(['--jsno']);
  assert.equal(code, 125);
  assert.match(stderr, /--jsno/);
  assert.match(stderr, /Usage: slipway doctor/);
  assert.match((await run(['--help'])).stdout, /Exit status/);
});

test('programs that are missing or broken are told apart', async (t) => {
  const directory = await temporary(t);
  const broken = await script(directory, 'runc', 'echo "no such library" >&2; exit 127');
  const missing = programItem(await probeProgram('no-such-program-here'), { purpose: 'p', required: true, debianPackage: 'thing' });
  assert.equal(missing.status, 'missing');
  assert.equal(missing.install, 'apt-get install -y thing');
  const item = programItem(await probeProgram('runc', { path: broken }), { purpose: 'p', debianPackage: 'runc' });
  assert.equal(item.status, 'unsupported');
  assert.match(item.detail, /does not run: no such library/);
  assert.equal(findProgram('no-such-program-here'), undefined);
});

test('the runtime of the configuration wins, and one that does not run is not chosen', async (t) => {
  const directory = await temporary(t);
  const good = await script(directory, 'runsc', 'echo runsc version release-20240101.0');
  const configured = (path: string) => inspectHost({ ...places, defaultRuntime: 'runsc', runtimes: { runsc: { path } } });
  assert.equal((await configured(good)).choices.runtime.name, 'runsc');
  assert.equal((await configured(join(directory, 'absent'))).choices.runtime.name, undefined);
});

test('a root that is not there yet is judged by where it would be made', async () => {
  const report = await inspectHost({ ...places, root: '/proc/slipway' });
  const root = report.items.find(({ name }) => name === 'root');
  assert.match(root?.detail ?? '', /^\/proc\/slipway on .*\(not made yet\)$/);
  assert.equal(root?.status, 'degraded', 'nobody has tried that');
});

test('the packages of the list are those that doctor tells to install', async () => {
  const packages = requiredPackages();
  assert.ok(packages.includes('runc') && packages.includes('aardvark-dns'));
  assert.ok(packages.every((name) => /^[a-z0-9.+-]+$/.test(name)));
  const source = await readFile(new URL('../../src/host/inspect.ts', import.meta.url), 'utf8');
  for (const [, name] of source.matchAll(/debianPackage: '([^']+)'/g)) {
    if (name !== 'crun') assert.ok(packages.includes(name ?? ''), `${name} is in packaging/debian-packages.txt`);
  }
});

test('systemd is told that the daemon is ready, and only when it asked', async (t) => {
  const directory = await temporary(t);
  await script(directory, 'systemd-notify', `echo "$@ $NOTIFY_SOCKET" > ${directory}/told`);
  const before = { PATH: process.env.PATH, NOTIFY_SOCKET: process.env.NOTIFY_SOCKET };
  t.after(() => {
    process.env.PATH = before.PATH;
    if (before.NOTIFY_SOCKET === undefined) delete process.env.NOTIFY_SOCKET;
    else process.env.NOTIFY_SOCKET = before.NOTIFY_SOCKET;
  });
  process.env.PATH = `${directory}:${before.PATH}`;
  delete process.env.NOTIFY_SOCKET;
  assert.equal(await notifyReady(), undefined);
  await assert.rejects(readFile(join(directory, 'told')), { code: 'ENOENT' });
  process.env.NOTIFY_SOCKET = '/run/systemd/notify';
  assert.equal(await notifyReady(), undefined);
  assert.match(await readFile(join(directory, 'told'), 'utf8'), /^--ready .* \/run\/systemd\/notify\n$/);
});
