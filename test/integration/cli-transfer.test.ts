import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { LiveTransfer } from '../../src/cli/transfer/progress.ts';
import { FakeDaemon, finished } from './cli-fake-daemon.ts';

const digest = `sha256:${'d'.repeat(64)}`;

function stream(response: ServerResponse, lines: readonly unknown[], end = '\r\n'): void {
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(lines.map((line) => `${JSON.stringify(line)}${end}`).join(''));
}

/** config.json with what `docker login` left. */
function logIn(daemon: FakeDaemon, auths: Record<string, string>): Record<string, string> {
  const folder = join(daemon.folder, 'config');
  mkdirSync(folder);
  const entries = Object.entries(auths).map(([server, user]) => [server, { auth: Buffer.from(`${user}:secret`).toString('base64') }]);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ auths: Object.fromEntries(entries) }));
  return { DOCKER_CONFIG: folder };
}

const header = (value: unknown) => JSON.parse(Buffer.from(String(value), 'base64url').toString()) as Record<string, unknown>;

const pulled = [
  { status: 'Pulling from acme/web', id: '2' },
  { status: 'Downloading', progressDetail: { current: 1, total: 2 }, id: 'aabb' },
  { status: 'Downloading', progressDetail: { current: 2, total: 2 }, id: 'aabb' },
  { status: 'Pull complete', progressDetail: {}, id: 'aabb' },
  { status: `Digest: ${digest}` },
  { status: 'Status: Downloaded newer image for ghcr.io/acme/web:2' },
  { aux: { BytesReceived: 1234 } },
];

test('pull sends the credentials of the registry, and says on standard error what comes', async () => {
  await using daemon = await FakeDaemon.start();
  const env = logIn(daemon, { 'ghcr.io': 'me', 'https://index.docker.io/v1/': 'hub' });
  daemon.on('POST /images/create', (_request, response) => stream(response, pulled));
  const result = await daemon.run(['pull', '--platform', 'linux/arm64', 'ghcr.io/acme/web:2'], { env });
  assert.deepEqual([result.status, result.stdout], [0, 'ghcr.io/acme/web:2\n']);
  assert.equal(
    result.stderr,
    `2: Pulling from acme/web\naabb: Downloading\naabb: Pull complete\nDigest: ${digest}\nStatus: Downloaded newer image for ghcr.io/acme/web:2\nReceived 1.23kB\n`,
  );
  const [request] = daemon.requests;
  assert.equal(request?.query.toString(), 'fromImage=ghcr.io%2Facme%2Fweb&tag=2&platform=linux%2Farm64&slipway=1');
  assert.deepEqual(header(request?.headers['x-registry-auth']), { username: 'me', password: 'secret', serveraddress: 'ghcr.io' });
  const quiet = await daemon.run(['pull', '-q', 'web'], { env });
  assert.deepEqual([quiet.stdout, quiet.stderr], ['docker.io/library/web:latest\n', '']);
  assert.equal(header(daemon.requests[1]?.headers['x-registry-auth']).username, 'hub');
  await daemon.run(['pull', '-a', 'other.example/web'], { env });
  assert.equal(daemon.requests[2]?.query.get('tag'), null);
  assert.equal(daemon.requests[2]?.headers['x-registry-auth'], undefined);
});

test('what a transfer fails with keeps its hint; a stream that was cut is no success', async () => {
  await using daemon = await FakeDaemon.start();
  const error = { kind: 'Denied', code: 'UNAUTHORIZED', message: 'access denied', hint: 'Log in.' };
  daemon.on('POST /images/create', (_request, response) => stream(response, [pulled[0], { errorDetail: error, error: error.message }]));
  const failed = await daemon.run(['pull', 'web:2']);
  assert.deepEqual([failed.status, failed.stderr], [1, '2: Pulling from acme/web\nError: access denied\nLog in.\n']);
  daemon.on('POST /images/create', (_request, response) => stream(response, pulled.slice(0, 2)));
  const cut = await daemon.run(['pull', 'web:2']);
  assert.equal(cut.status, 1);
  assert.match(cut.stderr, /closed the connection before it was done/);
});

test('push passes its choices on and tells what they cost', async () => {
  await using daemon = await FakeDaemon.start();
  const aux = {
    Tag: '2',
    Digest: digest,
    Size: 405,
    Reference: 'ghcr.io/acme/web:2',
    ImageBytes: 2_000_000,
    BytesSent: 1500,
    Explanation: ['layer 1 of 1: new'],
  };
  daemon.on('POST /images/ghcr.io/acme/web/push', (_request, response) => stream(response, [{ status: 'Pushed', id: 'aabb' }, { aux }]));
  const args = [
    'push',
    '--layers',
    'modules=app/node_modules:lib',
    '--layers',
    'app=app',
    '--compression',
    'zstd',
    '--format',
    'oci',
    'ghcr.io/acme/web:2',
  ];
  const result = await daemon.run(args);
  assert.deepEqual([result.status, result.stdout], [0, 'ghcr.io/acme/web:2\n']);
  assert.equal(result.stderr, 'aabb: Pushed\nlayer 1 of 1: new\nSent 1.5kB of an image of 2MB\n');
  const query = Object.fromEntries(daemon.requests[0]?.query ?? []);
  const layers = [
    { name: 'modules', patterns: ['app/node_modules', 'lib'] },
    { name: 'app', patterns: ['app'] },
  ];
  assert.deepEqual(query, { tag: '2', format: 'oci', layers: JSON.stringify(layers), compression: 'zstd', slipway: '1' });
  const explained = await daemon.run(['push', '--explain', 'ghcr.io/acme/web:2']);
  assert.equal(explained.stdout, 'layer 1 of 1: new\n');
});

test('tags, copy and search', async () => {
  await using daemon = await FakeDaemon.start();
  const env = logIn(daemon, { 'ghcr.io': 'me', 'https://index.docker.io/v1/': 'hub' });
  daemon.onJson('GET /slipway/tags', 200, { repository: 'ghcr.io/acme/web', tags: ['1', '2'] });
  assert.equal((await daemon.run(['tags', 'ghcr.io/acme/web'], { env })).stdout, '1\n2\n');
  daemon.on('POST /slipway/copy', (_request, response) =>
    stream(
      response,
      [
        { kind: 'progress', id: 'aa', status: 'Copied' },
        { kind: 'result', digest, bytesSent: 2000 },
      ],
      '\n',
    ),
  );
  const copied = await daemon.run(['copy', '--no-referrers', 'debian:12', 'ghcr.io/mirror/debian:12'], { env });
  assert.deepEqual([copied.stdout, copied.stderr], [`ghcr.io/mirror/debian@${digest}\n`, 'aa: Copied\nSent 2kB\n']);
  const copy = daemon.requests[1];
  assert.deepEqual(JSON.parse(copy?.body.toString() ?? ''), {
    from: 'docker.io/library/debian:12',
    to: 'ghcr.io/mirror/debian:12',
    referrers: false,
  });
  const auths = header(copy?.headers['x-registry-config']);
  assert.deepEqual(Object.keys(auths), ['https://index.docker.io/v1/', 'ghcr.io']);
  daemon.onJson('GET /images/search', 200, [
    { name: 'debian', description: 'a system', star_count: 7, is_official: true, is_automated: false },
  ]);
  const found = await daemon.run(['search', '--limit', '3', 'debian'], { env });
  assert.equal(found.stdout, 'NAME      DESCRIPTION   STARS     OFFICIAL\ndebian    a system      7         [OK]\n');
});

test('run pulls what is missing, always, or never', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.on('POST /images/create', (_request, response) => stream(response, pulled));
  let here = false;
  daemon.on('POST /containers/create', (_request, response) => {
    const [status, body] = here
      ? [201, { Id: 'c'.repeat(64), Warnings: [] }]
      : [404, { message: 'No such image: web:2', code: 'IMAGE_NOT_FOUND' }];
    here = true;
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
  });
  const asked = () => daemon.requests.splice(0).map(({ path }) => path);
  const missing = await daemon.run(['create', 'web:2']);
  assert.deepEqual([missing.status, missing.stdout], [0, `${'c'.repeat(64)}\n`]);
  assert.match(missing.stderr, /^Unable to find image 'web:2' locally\n2: Pulling from/);
  assert.deepEqual(asked(), ['/containers/create', '/images/create', '/containers/create']);
  const always = await daemon.run(['create', '--pull', 'always', '-q', 'web:2']);
  assert.deepEqual([always.status, always.stderr, asked()], [0, '', ['/images/create', '/containers/create']]);
  here = false;
  const never = await daemon.run(['create', '--pull', 'never', 'web:2']);
  assert.deepEqual([never.status, asked()], [125, ['/containers/create']]);
  here = false;
  const byId = await daemon.run(['create', 'd'.repeat(64)]);
  assert.deepEqual([byId.status, asked()], [125, ['/containers/create']], 'nothing can be pulled by an image’s id');
});

test('a build takes all credentials along, and what a helper cannot say is left out', async () => {
  await using daemon = await FakeDaemon.start();
  const env = logIn(daemon, { 'ghcr.io': 'me' });
  const config = join(daemon.folder, 'config/config.json');
  const auths = { 'ghcr.io': { auth: Buffer.from('me:secret').toString('base64') } };
  writeFileSync(config, JSON.stringify({ auths, credHelpers: { 'broken.example': 'is-not-there' } }));
  writeFileSync(join(daemon.folder, 'Dockerfile'), 'FROM scratch\n');
  daemon.on('POST /build', (_request, response) =>
    stream(response, [{ kind: 'result', tree: 't', content: 'c', tags: [], vertices: 0, cachedVertices: 0, durationMs: 1 }], '\n'),
  );
  const built = await daemon.run(['build', '--pull', daemon.folder], { env });
  assert.equal(built.status, 0, built.stderr);
  const [request] = daemon.requests;
  assert.deepEqual(Object.keys(header(request?.headers['x-registry-config'])), ['ghcr.io']);
  assert.equal(request?.query.get('pull'), '1');
});

test('on a terminal each layer has a line that is drawn in place', async () => {
  const written: string[] = [];
  const view = new LiveTransfer({
    write: (text) => written.push(text),
    size: () => ({ columns: 60, rows: 5 }),
    paint: (_code, text) => text,
  });
  for (let layer = 0; layer < 6; layer++) view.step({ id: `layer${layer}`, status: 'Pull complete' });
  view.step({ id: 'layer6', status: 'Downloading', progressDetail: { current: 500, total: 1000 } });
  view.step({ status: 'Digest: x' });
  view.close();
  view.close();
  const text = written.join('');
  assert.ok(text.startsWith('\u001b[?25l') && text.endsWith('\u001b[?25h'), 'the cursor comes back');
  assert.match(text, /Digest: x\n/);
  assert.match(text, /layer6: Downloading \[=+> +\] 500B\/1kB\n/);
  assert.match(text, /… and 4 more\n/);
  for (const line of stripVTControlCharacters(text).split('\n')) assert.ok(line.length < 60, line);

  await using daemon = await FakeDaemon.start();
  daemon.on('POST /images/create', (_request, response) => stream(response, pulled));
  const child = daemon.spawnOnTerminal(['pull', 'ghcr.io/acme/web:2']);
  const shown = await finished(child);
  assert.equal(shown.status, 0);
  assert.match(shown.stdout, /aabb: Pull complete[\s\S]*ghcr\.io\/acme\/web:2/);
});
