import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { BuildLine } from '../../src/api-types/build.ts';
import { cannotRunDaemon, DaemonPlace } from './api-daemon-harness.ts';

const cli = join(import.meta.dirname, '../../src/cli/main.ts');

/** The client lives in a mount name space with a file system that the daemon does not see, as on another host. */
describe('a build whose folder the daemon does not see', { skip: cannotRunDaemon }, () => {
  const place = new DaemonPlace();
  const hidden = join(place.folder, 'hidden');
  const app = join(hidden, 'app');
  let elsewhere: ChildProcess;

  before(async () => {
    mkdirSync(hidden);
    await place.start();
    const script = 'mount -t tmpfs none "$0" && mkdir "$0/app" && echo ready && exec sleep 3600';
    elsewhere = spawn('unshare', ['-m', '--propagation', 'private', 'sh', '-c', script, hidden], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(elsewhere.stdout as NonNullable<typeof elsewhere.stdout>, 'data');
    await there(`
      mkdir -p src/deep empty; printf 'one' > src/a; printf 'two' > src/deep/b; ln -s ../a src/deep/link; ln src/a src/same; mkfifo pipe
      touch -d @1000000000.123456789 src/a; chmod 751 src/deep/b; printf 'no' > left-out; printf 'left-out\\n' > .dockerignore
      printf 'FROM scratch\\nCOPY . /app\\n' > Dockerfile`);
  });
  after(async () => {
    elsewhere.kill('SIGKILL');
    await place.remove();
  });

  /** Runs a script in the folder. */
  async function there(script: string): Promise<string> {
    return execFileSync('nsenter', ['-t', String(elsewhere.pid), '-m', '--', 'sh', '-ec', `cd ${app}\n${script}`], { encoding: 'utf8' });
  }

  function slipway(args: readonly string[], env: Record<string, string> = {}): string {
    return execFileSync('nsenter', ['-t', String(elsewhere.pid), '-m', '--', process.execPath, cli, ...args], {
      env: { PATH: process.env.PATH ?? '', HOME: place.folder, SLIPWAY_HOST: `unix://${place.socket}`, PWD: app, ...env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** What of the folder travelled; then the result as a folder that this name space sees. */
  async function build(...more: string[]): Promise<{ bytes: number; result: string }> {
    const trace = join(place.folder, `${readdirSync(place.folder).length}.trace`);
    const result = `${trace}.out`;
    const script = `exec "${process.execPath}" "${cli}" build --progress json -o "type=local,dest=${result}" "$@" 2>"${trace}"`;
    execFileSync('nsenter', ['-t', String(elsewhere.pid), '-m', '--', 'sh', '-ec', script, 'sh', ...more, app], {
      env: { PATH: process.env.PATH ?? '', HOME: place.folder, SLIPWAY_HOST: `unix://${place.socket}` },
    });
    const lines = readFileSync(trace, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as BuildLine);
    const sent = lines.find((line) => line.kind === 'vertex' && line.name === 'send the build context' && line.state === 'done');
    assert.ok(sent?.kind === 'vertex');
    return { bytes: sent.detail?.bytes ?? -1, result };
  }

  const listing = (folder: string) =>
    execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P %y %m %l %T@ %n\\n'], { cwd: folder, encoding: 'utf8' })
      .split('\n')
      .filter((line) => !/^\S* d /.test(line))
      .sort();

  test('only what is missing travels, and the build has all', async () => {
    const first = await build();
    assert.equal(first.bytes, 'one'.length + 'two'.length + 'left-out\n'.length + 'FROM scratch\nCOPY . /app\n'.length);
    const expected = (await there(`find . -mindepth 1 -name left-out -o -mindepth 1 -printf '%P %y %m %l %T@ %n\\n'`))
      .split('\n')
      .filter((line) => !/^\S* d /.test(line))
      .sort();
    assert.deepEqual(listing(join(first.result, 'app')), expected);

    assert.equal((await build()).bytes, 0);

    await there(
      `printf 'changed' > src/deep/b; rm src/same; mkdir src/new; printf 'one' > src/new/copy; rm -r empty pipe; printf x > empty`,
    );
    const changed = await build();
    // A content that the daemon has under another name is not sent.
    assert.equal(changed.bytes, 'changed'.length + 'x'.length);
    const now = (await there(`find . -mindepth 1 -name left-out -o -mindepth 1 -printf '%P %y %m %l %T@ %n\\n'`))
      .split('\n')
      .filter((line) => !/^\S* d /.test(line))
      .sort();
    assert.deepEqual(listing(join(changed.result, 'app')), now);
  });

  test('a daemon that has forgotten the tree gets the whole list, and no content again', async () => {
    const cache = join(place.folder, '.cache/slipway/contexts');
    const [file = ''] = readdirSync(cache);
    const path = join(cache, file);
    const forged = readFileSync(path, 'utf8').replace(/"tree":"[0-9a-f]{64}"/, `"tree":"${'0'.repeat(64)}"`);
    execFileSync('sh', ['-c', 'cat > "$0"', path], { input: forged });
    assert.equal((await build()).bytes, 0);
    // And one that cannot be read is none.
    execFileSync('sh', ['-c', 'echo nonsense > "$0"', path]);
    assert.equal((await build()).bytes, 0);
  });

  test('what a killed client had sent is not sent again', async () => {
    await there('mkdir big; for i in 1 2 3 4; do head -c 20000000 /dev/urandom > big/$i; done');
    const objects = () => Number(execFileSync('sh', ['-c', 'find "$0" -size +19000k -type f | wc -l', join(place.root, 'objects')]));
    const build1 = spawn('nsenter', ['-t', String(elsewhere.pid), '-m', '--', process.execPath, cli, 'build', app], {
      env: { PATH: process.env.PATH ?? '', HOME: place.folder, SLIPWAY_HOST: `unix://${place.socket}` },
      stdio: 'ignore',
    });
    // Not sooner than a request was through: there are four, for each file is larger than half of one.
    while (objects() < 1 && build1.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 5));
    build1.kill('SIGKILL');
    if (build1.exitCode === null && build1.signalCode === null) await once(build1, 'exit');
    const before = objects();
    assert.ok(before >= 1);
    // A request that was under way may still come to its end in the daemon.
    assert.ok((await build()).bytes <= (4 - before) * 20_000_000);
    await there('rm -r big');
  });

  test('folders of --build-context and ssh agents are carried over, too', async () => {
    slipway(['import', place.imageTar(), 'bb:1']);
    await there(
      `mkdir ../other; printf 'from another' > ../other/file; printf 'FROM bb:1\\nCOPY --from=other file /file\\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && cat /file\\n' > ../Dockerfile`,
    );
    const agent = spawn(
      'nsenter',
      [
        '-t',
        String(elsewhere.pid),
        '-m',
        '--',
        process.execPath,
        '-e',
        `require('net').createServer((s) => s.pipe(s)).listen('${hidden}/agent', () => console.log('ready'))`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      await once(agent.stdout, 'data');
      slipway([
        'build',
        '-t',
        'carried:1',
        '-f',
        join(hidden, 'Dockerfile'),
        '--build-context',
        `other=${hidden}/other`,
        '--ssh',
        `default=${hidden}/agent`,
        app,
      ]);
      assert.equal(slipway(['run', '--rm', 'carried:1', 'cat', '/file']), 'from another');
    } finally {
      agent.kill('SIGKILL');
    }
  });
});
