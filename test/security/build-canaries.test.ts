import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { listMounts } from '../../src/kernel/mount.ts';
import { cannotRunDaemon, DaemonPlace, type DaemonProcess } from '../integration/api-daemon-harness.ts';
import { makeBusyboxRoot } from '../integration/runtime-support.ts';

const perl = '/usr/bin/perl';
const cli = join(import.meta.dirname, '../../src/cli/main.ts');

/** Words that are nowhere else: what a secret file holds, what a secret variable holds, and what an ssh agent answers. */
const canaries = {
  file: `Canary-File-${'k8'.repeat(16)}`,
  variable: `Canary-Word-${'m5'.repeat(16)}`,
  agent: `Canary-Keys-${'t2'.repeat(16)}`,
};

/** A canary as it is, in hexadecimal, backwards, and in base64 wherever in a text it may stand. */
function forms(canary: string): string[] {
  const bytes = Buffer.from(canary);
  // What stands before it moves base64 by one or two letters; those at both ends depend on the neighbours.
  const shifted = [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .slice(4, -4),
  );
  return [canary, bytes.toString('hex'), [...canary].reverse().join(''), ...shifted];
}
const patterns = Object.values(canaries).flatMap(forms);

/** Files below the places in which a canary is, also in what is compressed when `unpack`. */
function found(places: readonly string[], unpack = false): string {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-patterns-'));
  try {
    writeFileSync(join(folder, 'patterns'), `${patterns.join('\n')}\n`);
    const search = unpack
      ? 'list=$1; shift; find "$@" -type f | while read -r file; do zstd -dcqf "$file" 2>/dev/null | gzip -dcf 2>/dev/null | grep -qaF -f "$list" && echo "$file"; done; true'
      : 'list=$1; shift; grep -rlaF -f "$list" "$@" || true';
    return execFileSync('sh', ['-c', search, 'sh', join(folder, 'patterns'), ...places], { encoding: 'utf8' });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function holdsNone(text: string, what: string): void {
  for (const pattern of patterns) assert.ok(!text.includes(pattern), `${what} has ${pattern}`);
}

/** What everybody who may look into /proc sees of a process: not its memory. */
function lookIntoProc(pid: number): string {
  const files = ['environ', 'cmdline', 'mountinfo', 'maps', 'comm'].map((name) => readFileSync(`/proc/${pid}/${name}`, 'latin1'));
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return [...files, ...links].join('\n');
}

/** An ssh agent with one key, whose comment is what the file beside it holds. In a process of its own: this one waits for its children. */
const agentProgram = `
  const [path, file] = process.argv.slice(1);
  const text = (value) => Buffer.concat([Buffer.from([0, 0, 0, value.length]), Buffer.from(value)]);
  const answer = Buffer.concat([Buffer.from([12, 0, 0, 0, 1]), text('a public key'), text(require('node:fs').readFileSync(file))]);
  require('node:net').createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write(Buffer.concat([Buffer.from([0, 0, 0, answer.length]), answer])));
  }).listen(path, () => console.log('listens'));
`;

async function startAgent(path: string): Promise<ChildProcess> {
  writeFileSync(`${path}.key`, canaries.agent);
  const child = spawn(process.execPath, ['-e', agentProgram, path, `${path}.key`], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

/** What an agent's answer to "which keys" ends with, in a step that has nothing but perl to ask it with. */
const askAgent = `
  socket(S, 1, 1, 0) && connect(S, pack('Sa108', 1, $ENV{SSH_AUTH_SOCK})) or die $!;
  syswrite(S, pack('NC', 1, 11));
  sub take { my ($length, $data) = (shift, ''); while (length($data) < $length) { sysread(S, $data, $length - length($data), length($data)) or die } $data }
  print substr(take(unpack('N', take(4))), -${canaries.agent.length});
`;

describe('canaries in secrets and agents of builds', { skip: cannotRunDaemon || (!existsSync(perl) && 'needs perl') }, () => {
  const place = new DaemonPlace();
  const other = new DaemonPlace();
  const folder = join(place.folder, 'app');
  const outside = join(place.folder, 'outside');
  const env = (at: DaemonPlace) => ({
    PATH: process.env.PATH ?? '',
    HOME: outside,
    SLIPWAY_HOST: `unix://${at.socket}`,
    WORD: canaries.variable,
    SSH_AUTH_SOCK: join(outside, 'agent.sock'),
  });
  const slipwayAt = (at: DaemonPlace, ...args: string[]): string =>
    execFileSync(process.execPath, [cli, ...args], { cwd: folder, env: env(at), encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const slipway = (...args: string[]) => slipwayAt(place, ...args);
  const providers = ['--secret', `id=file,src=${join(outside, 'token')}`, '--secret', 'id=word,env=WORD', '--ssh', 'default'];
  let daemon: DaemonProcess;
  let agent: ChildProcess | undefined;

  before(async () => {
    daemon = await place.start();
    for (const path of [folder, outside]) mkdirSync(path);
    writeFileSync(join(outside, 'token'), canaries.file);
    agent = await startAgent(join(outside, 'agent.sock'));
    slipway('import', perlRoot(place.folder), 'base:1');
  });
  after(async () => {
    agent?.kill();
    await place.remove();
    await other.remove();
  });

  test('they reach the steps, and are in no layer, history, config, log, cache, snapshot or state, nor in /proc', async () => {
    writeFileSync(join(folder, 'ask.pl'), askAgent);
    writeFileSync(
      join(folder, 'Dockerfile'),
      [
        'FROM base:1',
        'RUN --mount=type=secret,id=file,required sha256sum < /run/secrets/file > /file',
        'RUN --mount=type=secret,id=word,env=WORD,required --mount=type=cache,target=/c printf %s "$WORD" | sha256sum | tee /word > /c/word',
        'RUN --mount=type=ssh,required --mount=type=bind,target=/src perl /src/ask.pl | sha256sum > /agent',
        'RUN test ! -e /run/secrets && test -z "$WORD$SSH_AUTH_SOCK" && mount > /mounts && env > /environment',
        // One that fails with its secrets in place.
        'FROM base:1 AS failing',
        'RUN --mount=type=secret,id=file,target=/t --mount=type=secret,id=word,env=WORD --mount=type=ssh test -s /t && false',
      ].join('\n'),
    );
    const cache = join(place.folder, 'cache');
    const shared = ['--progress', 'plain', ...providers];
    const said = [slipway('build', ...shared, '--target', '0', '--cache-to', `type=local,dest=${cache},mode=max`, '-t', 'canary:1', '.')];
    const failure = assert.throws(
      () => slipway('build', ...shared, '--target', 'failing', '.'),
      (error: Error & { stdout: string; stderr: string }) => {
        said.push(error.message, error.stdout, error.stderr);
        return /exit code 1/.test(error.stderr);
      },
    );
    assert.equal(failure, undefined);

    // They were there.
    const sum = (text: string) => createHash('sha256').update(text).digest('hex');
    const sums = slipway('run', '--rm', 'canary:1', 'cat', '/file', '/word', '/agent');
    assert.deepEqual(sums.match(/[0-9a-f]{64}/g), [sum(canaries.file), sum(canaries.variable), sum(canaries.agent)]);

    for (const [archive, type] of [
      ['docker.tar', 'docker'],
      ['oci.tar', 'oci'],
    ] as const)
      slipway('build', '-q', ...providers, '--target', '0', '-o', `type=${type},dest=${join(place.folder, archive)}`, '.');
    slipway('save', '-o', join(place.folder, 'saved.tar'), 'canary:1');
    mkdirSync(join(place.folder, 'unpacked'));
    for (const archive of ['oci.tar', 'saved.tar']) {
      const into = join(place.folder, 'unpacked', archive);
      mkdirSync(into);
      execFileSync('tar', ['-xf', join(place.folder, archive), '-C', into]);
    }
    const builds = slipway('build', 'ls', '--format', 'json');
    said.push(builds, slipway('history', '--no-trunc', 'canary:1'), slipway('inspect', 'canary:1'), daemon.log);
    const ids = [...builds.matchAll(/"id": ?"([^"]+)"/gi)].map(([, id = '']) => id);
    assert.ok(ids.length >= 2, builds);
    for (const id of ids) said.push(slipway('build', 'inspect', id), slipway('build', 'logs', id));
    holdsNone(said.join('\n'), 'what was said');
    holdsNone(lookIntoProc(daemon.pid), '/proc of the daemon');
    assert.ok(existsSync(cache) && readdirSync(cache).length > 0);
    const planted = join(place.folder, 'planted');
    writeFileSync(planted, gzipSync(Buffer.from(`..${Buffer.from(`x${canaries.variable}`).toString('base64')}`)));
    assert.equal(found([planted], true), `${planted}\n`, 'what is there is found');
    assert.equal(found([place.root, place.run]), '', 'the state root and the run directory');
    assert.equal(found([cache, join(place.folder, 'unpacked')], true), '', 'the exported cache and the images, unpacked');

    // What the exported cache is made of, when another engine has taken it apart.
    await other.start();
    slipwayAt(other, 'import', join(place.folder, 'base.tar'), 'base:1');
    const imported = slipwayAt(
      other,
      'build',
      '-q',
      '--target',
      '0',
      '--cache-from',
      `type=local,src=${cache}`,
      '-t',
      'canary:1',
      ...providers,
      '.',
    );
    assert.match(imported, /sha256:/);
    assert.equal(found([other.root, other.run]), '', 'an engine that took the cache');
  });

  test('when the daemon is killed while a step has them, none is on its disk, and the next one leaves nothing in memory', async () => {
    writeFileSync(
      join(folder, 'Dockerfile'),
      'FROM base:1\nRUN --mount=type=secret,id=file,required --mount=type=secret,id=word,env=WORD --mount=type=ssh,required test -s /run/secrets/file && echo "they are" here && sleep 1000\n',
    );
    const child = spawn(process.execPath, [cli, 'build', '--progress', 'plain', ...providers, '.'], {
      cwd: folder,
      env: env(place),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('they are here')) resolve();
      });
      child.once('close', () => reject(new Error(said)));
    });
    const inMemory = () => listMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${place.run}/build/`));
    assert.deepEqual([...new Set(inMemory().map(({ type }) => type))], ['tmpfs']);
    holdsNone(lookIntoProc(daemon.pid), '/proc of the daemon while the step runs');
    await daemon.kill();
    await ended;
    holdsNone(said, 'what was said');
    assert.equal(found([place.root]), '', 'the state root after the kill');

    daemon = await place.start();
    assert.equal(found([place.root, place.run]), '', 'after the next start');
    assert.deepEqual(inMemory(), []);
    holdsNone(lookIntoProc(daemon.pid) + daemon.log, 'the next daemon');
    assert.deepEqual(processesWith(canaries.variable), [], 'no process of the step is left');
  });
});

/** Processes with this in their environment; not those of the tests, which give it. */
function processesWith(text: string): string[] {
  const own = new Set([process.pid, process.ppid]);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && !own.has(Number(name)))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/environ`, 'latin1').includes(text);
      } catch {
        return false;
      }
    });
}

/** busybox, and perl with its libraries to ask an agent with. */
function perlRoot(folder: string): string {
  const root = join(folder, 'perl-root');
  mkdirSync(root);
  makeBusyboxRoot(root);
  const put = (from: string, to = from) => {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    copyFileSync(from, join(root, to));
  };
  put(perl, '/bin/perl');
  const libraries = execFileSync('ldd', [perl], { encoding: 'utf8' });
  for (const [, path = ''] of libraries.matchAll(/(\/\S+) \(0x/g)) put(path);
  const tar = join(folder, 'base.tar');
  execFileSync('tar', ['-C', root, '-cf', tar, '.']);
  return tar;
}
