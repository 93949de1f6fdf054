import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeFrame } from '../../src/cli/client/frames.ts';
import { FakeDaemon, finished } from './cli-fake-daemon.ts';

const id = 'cd'.repeat(32);

test('without a daemon every command says how to start one', async () => {
  await using daemon = await FakeDaemon.start();
  const result = await daemon.run(['ps'], { env: { SLIPWAY_HOST: `unix://${daemon.folder}/none.sock` } });
  assert.equal(result.status, 1);
  assert.match(
    result.stderr,
    /^Error: Cannot connect to the Slipway daemon at unix:\/\/.*none\.sock\. Is it running\?\nStart it with "slipway daemon"/,
  );
});

test('--host wins over SLIPWAY_HOST; other kinds of hosts are refused', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('GET /containers/json', 200, []);
  const env = { SLIPWAY_HOST: 'unix:///nowhere' };
  assert.equal((await daemon.run(['-H', `unix://${daemon.socketPath}`, 'ps', '-q'], { env })).status, 0);
  for (const host of ['npipe:////x', 'relative/path', 'tcp://', 'tcp://host:70000', 'tcp://a:b:1', 'ssh://', 'ssh://me:secret@host']) {
    const refused = await daemon.run(['--host', host, 'ps']);
    assert.equal(refused.status, 125, host);
    assert.match(refused.stderr, /^Error: (?:unknown kind of host|not HOST:PORT|not ssh:|a password).*\nHosts look like unix:/, host);
    assert.doesNotMatch(refused.stderr, /secret/);
  }
  assert.equal((await daemon.run(['ps', '-q'], { env: { SLIPWAY_HOST: '', DOCKER_HOST: `unix://${daemon.socketPath}` } })).status, 0);
});

test('what is typed wrong ends with 125 and a pointer', async () => {
  await using daemon = await FakeDaemon.start();
  for (const [argv, message] of [
    [['imgaes'], /unknown command: slipway imgaes\nDid you mean "images"\?/],
    [['network', 'lss'], /unknown command: slipway network lss\nDid you mean "ls"\?/],
    [['rm'], /missing required argument 'CONTAINER'\nUsage: slipway rm \[options\] <CONTAINER\.\.\.>/],
    [['ps', 'x'], /too many arguments\. Expected 0 arguments but got 1\.\nUsage: slipway ps \[options\]/],
    [['ps', '--al'], /unknown option '--al'\nDid you mean --all\?/],
    [['swarm', 'init'], /this version of Slipway has no "swarm"/],
    [['pull', '-a', 'x:1'], /tag can't be used with --all-tags/],
    [['push', 'x@sha256:0000000000000000000000000000000000000000000000000000000000000000'], /cannot push a digest reference/],
    [['push', '--layers', 'adaptive', '--layers', 'a=b', 'x'], /--layers adaptive stands alone/],
    [['push', '--layers', 'nothing', 'x'], /invalid argument "nothing" for --layers/],
    [['run', '--pull', 'often', 'x'], /invalid argument "often" for --pull\nUse always, missing or never\./],
    [['ps', '--format', '{{nope}}'], /"nope", which is not supported\nSupported:/],
  ] as const) {
    daemon.onJson('GET /containers/json', 200, []);
    const result = await daemon.run(argv);
    assert.equal(result.status, 125, argv.join(' '));
    assert.match(result.stderr, message);
  }
});

test('ps shows Docker’s table', async () => {
  await using daemon = await FakeDaemon.start();
  const networks = { bridge: {} };
  daemon.onJson('GET /containers/json', 200, [
    {
      Id: id,
      Names: ['/web'],
      Image: 'web:2',
      ImageID: 'sha256:x',
      Command: 'node server.js --port 80 --host 0.0.0.0',
      Created: Math.floor(Date.now() / 1000) - 7300,
      Ports: [{ IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' }],
      Labels: {},
      State: 'running',
      Status: 'Up 2 hours',
      HostConfig: { NetworkMode: 'default' },
      NetworkSettings: { Networks: networks },
      Mounts: [],
    },
  ]);
  const result = await daemon.run(['ps', '-a', '--filter', 'name=web', '--filter', 'label=a=b']);
  assert.equal(
    result.stdout,
    [
      'CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS       PORTS                  NAMES',
      'cdcdcdcdcdcd   web:2     "node server.js --po…"   2 hours ago   Up 2 hours   0.0.0.0:8080->80/tcp   web',
      '',
    ].join('\n'),
  );
  assert.deepEqual(JSON.parse(daemon.requests[0]?.query.get('filters') ?? ''), { name: ['web'], label: ['a=b'] });
  assert.equal((await daemon.run(['container', 'ls', '--format', '{{.Names}} {{.Networks}}'])).stdout, 'web bridge\n');
});

test('names are done one by one; a failure does not keep the others from their turn', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('DELETE /containers/a', 204, undefined);
  daemon.onJson('DELETE /containers/b', 409, { message: 'b is running', code: 'CONTAINER_RUNNING', hint: 'Stop it, or use -f.' });
  daemon.onJson('DELETE /containers/c', 204, undefined);
  const result = await daemon.run(['rm', 'a', 'b', 'c']);
  assert.deepEqual([result.status, result.stdout, result.stderr], [1, 'a\nc\n', 'Error: b is running\nStop it, or use -f.\n']);
});

test('inspect looks through the kinds and prints what it found', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('GET /images/ghcr.io/acme/web:2/json', 200, { Id: 'sha256:1', Size: 5 });
  const result = await daemon.run(['inspect', 'ghcr.io/acme/web:2', 'gone']);
  assert.equal(result.status, 1);
  assert.deepEqual(JSON.parse(result.stdout), [{ Id: 'sha256:1', Size: 5 }]);
  assert.match(result.stderr, /no container, image, network or volume is called gone/);
  assert.equal((await daemon.run(['image', 'inspect', '-f', '{{.Size}}', 'ghcr.io/acme/web:2'])).stdout, '5\n');
});

test('logs tells the streams apart and ends quietly when its reader leaves', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.on('GET /containers/web/logs', (request, response) => {
    response.writeHead(200, { 'Content-Type': 'application/vnd.docker.multiplexed-stream' });
    response.write(encodeFrame(1, 'out\n'));
    response.write(encodeFrame(2, 'err\n'));
    if (request.query.get('follow') !== '1') {
      response.end();
      return;
    }
    const timer = setInterval(() => response.write(encodeFrame(1, 'more\n')), 10);
    response.on('close', () => clearInterval(timer));
  });
  const whole = await daemon.run(['logs', '-n', '5', '--since', '10m', 'web']);
  assert.deepEqual([whole.status, whole.stdout, whole.stderr], [0, 'out\n', 'err\n']);
  assert.equal(daemon.requests[0]?.query.get('tail'), '5');
  const child = daemon.spawn(['logs', '-f', 'web']);
  child.stdout?.once('data', () => child.stdout?.destroy());
  const left = await finished(child);
  assert.deepEqual([left.status, left.stderr], [141, 'err\n']);
});

test('save -o leaves a whole file or none', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.on('GET /images/get', (request, response) => {
    if (request.query.getAll('names').includes('cut')) {
      response.writeHead(200, { 'Content-Type': 'application/x-tar', 'Transfer-Encoding': 'chunked' });
      response.write('half', () => response.destroy());
    } else response.end('whole');
  });
  assert.equal((await daemon.run(['save', '-o', 'ok.tar', 'a', 'b'])).status, 0);
  const cut = await daemon.run(['save', '-o', 'cut.tar', 'cut']);
  assert.equal(cut.status, 1);
  assert.match(cut.stderr, /closed the connection in the middle/);
  assert.deepEqual(
    readdirSync(daemon.folder).filter((name) => name.includes('tar')),
    ['ok.tar'],
  );
});

test('load sends a file and prints what was loaded; a missing one is told before anything is sent', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.on('POST /images/load', (request, response) => response.end(`{"stream":"Loaded image: web:2 (${request.body.length})\\n"}\r\n`));
  const loaded = await daemon.run(['load'], { stdin: Buffer.alloc(500_000) });
  assert.deepEqual([loaded.status, loaded.stdout], [0, 'Loaded image: web:2 (500000)\n']);
  const missing = await daemon.run(['load', '-i', 'none.tar']);
  assert.deepEqual([missing.status, missing.stderr], [1, 'Error: cannot read none.tar: no such file or directory\n']);
  assert.equal(daemon.requests.length, 1);
});

test('an error inside a progress stream is an error of the command', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.on('POST /images/load', (_request, response) => response.end('{"errorDetail":{"message":"bad tar"},"error":"bad tar"}\r\n'));
  const result = await daemon.run(['load'], { stdin: 'x' });
  assert.deepEqual([result.status, result.stderr], [1, 'Error: bad tar\n']);
});

test('diff of two images lists and sums up; a stream that breaks off is a failure', async () => {
  await using daemon = await FakeDaemon.start();
  const lines = [
    { kind: 'added', path: 'etc/new', type: 'file', after: 2048 },
    { kind: 'modified', path: 'bin', type: 'directory' },
    { kind: 'deleted', path: 'a\u001b[2J', type: 'symlink' },
  ];
  const result = { kind: 'result', from: {}, to: {}, added: 1, modified: 1, deleted: 1, bytesAdded: 2048, bytesDeleted: 0 };
  daemon.on('GET /slipway/diff', (request, response) => {
    response.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    response.end(request.query.get('to') === 'cut' ? '' : `${JSON.stringify(result)}\n`);
  });
  const whole = await daemon.run(['diff', 'a', 'b']);
  assert.equal(whole.stdout, 'A /etc/new (2.05kB)\nC /bin/\nD /a?[2J\n1 added, 1 changed, 1 deleted: +2.05kB, -0B\n');
  assert.equal((await daemon.run(['diff', 'a', 'cut'])).status, 1);
});

test('prune asks first', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('POST /volumes/prune', 200, { VolumesDeleted: ['v'], SpaceReclaimed: 0 });
  const no = await daemon.run(['volume', 'prune'], { stdin: 'n\n' });
  assert.equal(no.status, 1);
  assert.equal(daemon.requests.length, 0);
  const yes = await daemon.run(['volume', 'prune'], { stdin: 'y\n' });
  assert.deepEqual([yes.status, yes.stdout], [0, 'Deleted Volumes:\nv\n\nTotal reclaimed space: 0B\n']);
});

test('cp takes files out under the name asked for, whole or not at all', async () => {
  await using daemon = await FakeDaemon.start();
  const { tarOf } = await import('../../src/cli/local-tar.ts');
  const { mkdirSync, writeFileSync, readFileSync } = await import('node:fs');
  mkdirSync(join(daemon.folder, 'src/etc'), { recursive: true });
  writeFileSync(join(daemon.folder, 'src/etc/conf'), 'value');
  daemon.on('GET /containers/web/archive', (_request, response) => {
    const stat = Buffer.from(JSON.stringify({ name: 'etc', size: 0, mode: 0, mtime: '', linkTarget: '' })).toString('base64');
    response.writeHead(200, { 'Content-Type': 'application/x-tar', 'X-Docker-Container-Path-Stat': stat });
    // Nobody reads on when the command refuses the place, and the test's folder may be gone by then.
    void (async () => {
      for await (const chunk of tarOf(join(daemon.folder, 'src/etc'), { name: 'etc' })) response.write(chunk);
      response.end();
    })().catch(() => response.destroy());
  });
  assert.equal((await daemon.run(['cp', 'web:/etc', 'copy'])).status, 0);
  assert.equal(readFileSync(join(daemon.folder, 'copy/conf'), 'utf8'), 'value');
  mkdirSync(join(daemon.folder, 'into'));
  assert.equal((await daemon.run(['cp', 'web:/etc', 'into'])).status, 0);
  assert.equal(existsSync(join(daemon.folder, 'into/etc/conf')), true);
  assert.equal((await daemon.run(['cp', 'web:/etc', 'no/where'])).status, 1);
  assert.deepEqual(
    readdirSync(daemon.folder).filter((name) => name.startsWith('.')),
    [],
  );
});
