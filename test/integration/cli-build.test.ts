import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { FakeDaemon, finished } from './cli-fake-daemon.ts';

const result = {
  kind: 'result',
  imageId: 'sha256:abc',
  tree: 'f'.repeat(64),
  content: 'f',
  tags: ['web:2'],
  vertices: 2,
  cachedVertices: 1,
  durationMs: 5,
};

function send(response: ServerResponse, ...lines: unknown[]): void {
  response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
  response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

function makeContext(daemon: FakeDaemon): string {
  const folder = join(daemon.folder, 'äpp');
  mkdirSync(join(folder, 'node_modules/keep'), { recursive: true });
  mkdirSync(join(folder, 'node_modules/drop'));
  writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\nCOPY . /\n');
  writeFileSync(join(folder, '.dockerignore'), 'node_modules\n!node_modules/keep\n*.log\nDockerfile\n');
  writeFileSync(join(folder, 'a.log'), '');
  writeFileSync(join(folder, 'main.js'), 'hello');
  writeFileSync(join(folder, 'node_modules/keep/x.js'), '');
  writeFileSync(join(folder, 'node_modules/drop/y.js'), '');
  symlinkSync('main.js', join(folder, 'link'));
  return folder;
}

test('a folder that the daemon sees is named, not sent', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  daemon.on('POST /build', (_request, response) =>
    send(
      response,
      { kind: 'vertex', vertex: 'a', name: '[1/2] FROM base', state: 'cached' },
      { kind: 'vertex', vertex: 'b', name: '[2/2] RUN x', state: 'running' },
      { kind: 'output', vertex: 'b', stream: 'stdout', data: Buffer.from('hi\n').toString('base64') },
      { kind: 'vertex', vertex: 'b', name: '[2/2] RUN x', state: 'done', durationMs: 1500 },
      result,
    ),
  );
  const built = await daemon.run([
    'build',
    '-t',
    'web:2',
    '--build-arg',
    'A=1',
    '--build-arg',
    'NOPE',
    '--iidfile',
    'iid',
    '--label',
    'l=v',
    folder,
  ]);
  assert.equal(built.status, 0, built.stderr);
  assert.match(
    built.stderr,
    /^#1 \[1\/2\] FROM base\n#1 CACHED\n\n#2 \[2\/2\] RUN x\n#2 0\.\d{3} hi\n#2 DONE 1\.5s\nBuilt sha256:abc as web:2 in .*: 2 vertices, 1 cached\n$/,
  );
  assert.equal(built.stdout, '');
  assert.equal(readFileSync(join(daemon.folder, 'iid'), 'utf8'), 'sha256:abc');
  const request = daemon.requests[0];
  const { dev, ino } = statSync(folder);
  assert.deepEqual(JSON.parse(String(request?.headers['x-slipway-context'])), { path: folder, dev, ino });
  assert.equal(request?.body.length, 0);
  assert.deepEqual(
    ['t', 'dockerfile', 'buildargs', 'labels'].map((name) => request?.query.get(name)),
    ['web:2', 'Dockerfile', '{"A":"1"}', '{"l":"v"}'],
  );
  assert.equal((await daemon.run(['build', '-q', folder])).stdout, 'sha256:abc\n');
});

test('of a folder that the daemon does not see a list is sent, without what .dockerignore names, and the contents that are missing', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  const tree = '5'.repeat(64);
  const hello = createHash('sha256').update('hello').digest('hex');
  let listed: unknown[][] = [];
  let contents = Buffer.alloc(0);
  daemon.on('POST /build', (request, response) => {
    if (request.headers['x-slipway-context'] === JSON.stringify({ tree })) send(response, result);
    else response.writeHead(412).end('{"message":"not shared","code":"CONTEXT_NOT_SHARED"}');
  });
  daemon.on('POST /slipway/build-contexts', (request, response) => {
    const [head, ...lines] = gunzipSync(request.body).toString().trimEnd().split('\n');
    assert.equal(head, '{"version":1}');
    listed = lines.map((line) => JSON.parse(line) as unknown[]);
    response.writeHead(201).end(JSON.stringify({ id: 'abc', missing: [hello] }));
  });
  daemon.on('POST /slipway/build-contexts/abc/contents', (request, response) => {
    contents = Buffer.concat([contents, request.body]);
    response.writeHead(204).end();
  });
  daemon.on('POST /slipway/build-contexts/abc/finish', (_request, response) => void response.writeHead(201).end(JSON.stringify({ tree })));
  const built = await daemon.run(['build', folder]);
  assert.equal(built.status, 0, built.stderr);
  assert.deepEqual(
    listed.map(([kind, path]) => [kind, path]),
    [
      ['f', '.dockerignore'],
      ['f', 'Dockerfile'],
      ['l', 'link'],
      ['f', 'main.js'],
      ['d', 'node_modules'],
      ['d', 'node_modules/keep'],
      ['f', 'node_modules/keep/x.js'],
    ],
  );
  const head = Buffer.alloc(40);
  head.write(hello, 'hex');
  head.writeBigUInt64LE(5n, 32);
  assert.deepEqual(contents, Buffer.concat([head, Buffer.from('hello')]));
});

test('a Dockerfile from outside, or from standard input, travels in a header', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  writeFileSync(join(daemon.folder, 'Other'), 'FROM x\n');
  daemon.on('POST /build', (_request, response) => send(response, result));
  const dockerfiles = async (argv: string[], stdin: string) => {
    const built = await daemon.run(['build', ...argv], { stdin });
    assert.equal(built.status, 0, built.stderr);
    const request = daemon.requests.at(-1);
    return [request?.query.get('dockerfile'), Buffer.from(String(request?.headers['x-slipway-dockerfile'] ?? ''), 'base64').toString()];
  };
  assert.deepEqual(await dockerfiles(['-f', 'Other', folder], ''), ['Other', 'FROM x\n']);
  assert.deepEqual(await dockerfiles(['-f', '-', folder], 'FROM y\n'), ['Dockerfile (standard input)', 'FROM y\n']);
  assert.deepEqual(await dockerfiles(['-f', join(folder, 'Dockerfile'), folder], ''), ['Dockerfile', '']);
  assert.deepEqual(await dockerfiles(['-'], 'FROM z\n'), ['Dockerfile (standard input)', 'FROM z\n']);
});

test('a tar on standard input is the context', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  daemon.on('POST /build', (_request, response) => send(response, result));
  const tar = execFileSync('tar', ['-cz', '-C', folder, '.']);
  assert.equal((await daemon.run(['build', '-'], { stdin: tar })).status, 0);
  assert.deepEqual(daemon.requests[0]?.body, tar);
});

test('a failed build prints the daemon’s error and ends with 1', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  daemon.on('POST /build', (_request, response) =>
    send(
      response,
      { kind: 'vertex', vertex: 'b', name: 'RUN false', state: 'running' },
      { kind: 'vertex', vertex: 'b', name: 'RUN false', state: 'error', error: 'exit status 1\nmore' },
      {
        kind: 'error',
        error: { kind: 'InvalidArgument', code: 'STEP_FAILED', message: 'Dockerfile:2: RUN false\n >>> RUN false\nended with 1' },
      },
    ),
  );
  const failed = await daemon.run(['build', folder]);
  assert.equal(failed.status, 1);
  assert.equal(failed.stderr, '#1 RUN false\n#1 ERROR: exit status 1\nError: Dockerfile:2: RUN false\n >>> RUN false\nended with 1\n');
});

test('ctrl-C closes the connection and ends with 130', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  const closed = Promise.withResolvers<void>();
  daemon.on('POST /build', (_request, response) => {
    response.writeHead(200);
    response.write(`${JSON.stringify({ kind: 'vertex', vertex: 'b', name: 'RUN sleep', state: 'running' })}\n`);
    response.on('close', () => closed.resolve());
  });
  const child = daemon.spawn(['build', folder]);
  child.stderr?.once('data', () => child.kill('SIGINT'));
  const ended = await finished(child);
  await closed.promise;
  assert.equal(ended.status, 130);
  assert.match(ended.stderr, /interrupted by SIGINT/);
});

test('--output writes the tree to a folder or a tar', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  const tar = execFileSync('tar', ['-c', '-C', folder, 'main.js']);
  const { imageId: _none, ...treeResult } = result;
  daemon.on('POST /build', (request, response) => {
    assert.equal(request.query.get('slipwayOutput'), 'tree');
    send(response, treeResult);
  });
  daemon.on(`GET /slipway/trees/${result.tree}/tar`, (_request, response) => response.end(tar));
  assert.equal((await daemon.run(['build', '-o', 'type=local,dest=out/deep', folder])).status, 0);
  assert.equal(readFileSync(join(daemon.folder, 'out/deep/main.js'), 'utf8'), 'hello');
  assert.equal((await daemon.run(['build', '-o', 'type=tar,dest=out.tar', folder])).status, 0);
  assert.deepEqual(readFileSync(join(daemon.folder, 'out.tar')), tar);
  assert.deepEqual(Buffer.from((await daemon.run(['build', '-o', '-', folder])).stdout), tar);
  for (const output of ['type=local', 'type=image,dest=x', 'type=tar,dset=x']) {
    assert.equal((await daemon.run(['build', '-o', output, folder])).status, 125, output);
  }
});

test('--output type=oci and type=docker write the image as an archive', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  daemon.on('POST /build', (request, response) => {
    assert.equal(request.query.get('slipwayOutput'), null);
    send(response, result);
  });
  const asked: string[] = [];
  daemon.on('GET /images/get', (request, response) => {
    asked.push(`${request.query.getAll('names').join()} ${request.query.get('format')}`);
    response.end('archive');
  });
  for (const type of ['oci', 'docker']) {
    assert.equal((await daemon.run(['build', '-o', `type=${type},dest=${type}.tar`, folder])).status, 0);
    assert.equal(readFileSync(join(daemon.folder, `${type}.tar`), 'utf8'), 'archive');
  }
  const names = result.tags.length > 0 ? result.tags.join() : result.imageId;
  assert.deepEqual(asked, [`${names} oci`, `${names} docker`]);
});

test('--push pushes every name of the image, and the metadata tell the digest', async () => {
  await using daemon = await FakeDaemon.start();
  const folder = makeContext(daemon);
  const pushed: string[] = [];
  daemon.on('POST /build', (_request, response) => send(response, { ...result, tags: ['127.0.0.1:5000/web:1', '127.0.0.1:5000/web:2'] }));
  daemon.on('POST /images/127.0.0.1:5000/web/push', (request, response) => {
    const tag = request.query.get('tag') ?? '';
    pushed.push(tag);
    response.end(`${JSON.stringify({ aux: { Tag: tag, Digest: `sha256:${tag.repeat(64)}`, Size: 1, BytesSent: 2, ImageBytes: 3 } })}\n`);
  });
  const options = ['--push', '-t', '127.0.0.1:5000/web:1', '-t', '127.0.0.1:5000/web:2', '--metadata-file', 'meta.json'];
  const built = await daemon.run(['build', ...options, folder]);
  assert.equal(built.status, 0, built.stderr);
  assert.deepEqual(pushed, ['1', '2']);
  const metadata = JSON.parse(readFileSync(join(daemon.folder, 'meta.json'), 'utf8'));
  assert.deepEqual(
    [metadata['containerimage.digest'], metadata['containerimage.config.digest']],
    [`sha256:${'2'.repeat(64)}`, result.imageId],
  );
  assert.match((await daemon.run(['build', '--push', folder])).stderr, /--push needs a name/);
  assert.match((await daemon.run(['build', '--push', '-t', 'a', '-o', 'out', folder])).stderr, /--push needs an image/);
});

test('contexts that cannot be: no folder, no Dockerfile, a URL', async () => {
  await using daemon = await FakeDaemon.start();
  mkdirSync(join(daemon.folder, 'empty'));
  for (const [place, message] of [
    ['nowhere', /cannot use the build context nowhere: no such file or directory/],
    ['empty', /there is no Dockerfile in empty/],
    ['https://example.org/x.git', /Fetch it first/],
  ] as const) {
    const failed = await daemon.run(['build', place]);
    assert.notEqual(failed.status, 0);
    assert.match(failed.stderr, message);
  }
  assert.equal(daemon.requests.length, 0);
  assert.equal(existsSync(join(daemon.folder, 'iid')), false);
});

test('on a terminal progress is live, and the cursor comes back', { timeout: 20_000 }, async () => {
  await using daemon = await FakeDaemon.start();
  makeContext(daemon);
  daemon.on('POST /build', (_request, response) => {
    response.writeHead(200);
    response.write(`${JSON.stringify({ kind: 'vertex', vertex: 'b', name: 'RUN npm ci', state: 'running' })}\n`);
    // It ends when it has been shown that it runs.
    let shown = '';
    child.stdout?.on('data', (piece: Buffer) => {
      shown += piece.toString();
      if (response.writableEnded || !shown.includes('Building 0 of 1 done')) return;
      response.end(
        `${JSON.stringify({ kind: 'vertex', vertex: 'b', name: 'RUN npm ci', state: 'done', durationMs: 300 })}\n${JSON.stringify(result)}\n`,
      );
    });
  });
  const child = daemon.spawnOnTerminal(['build', 'äpp']);
  const { status, stdout } = await finished(child);
  assert.equal(status, 0, stdout);
  assert.match(stdout, /Building 0 of 1 done/);
  assert.match(stdout, /RUN npm ci +0\.3s/);
  assert.ok(stdout.lastIndexOf('\u001b[?25h') > stdout.lastIndexOf('\u001b[?25l'));
});
