import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { EngineError } from '../../src/base/errors.ts';
import { GivenSecrets } from '../../src/build/secrets.ts';
import { tar } from '../conformance/tar.ts';
import { type BuildBench, type BuildOutcome, openBuilds } from '../support/builds.ts';

const skip = process.getuid?.() !== 0 && 'needs root';
const sha256 = (data: Buffer | string) => `sha256:${createHash('sha256').update(data).digest('hex')}`;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** An http server on loopback whose answers a test sets; it keeps what was asked. */
class Web implements AsyncDisposable {
  readonly answers = new Map<string, Answer>();
  readonly asked: IncomingMessage[] = [];
  readonly #server: Server;
  readonly address: string;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.address = `http://127.0.0.1:${port}`;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.asked.push(request);
      const answer = this.answers.get(new URL(request.url ?? '', this.address).pathname);
      if (answer !== undefined) answer(request, response);
      else response.writeHead(404).end();
    });
  }

  static async open(): Promise<Web> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    return new Web(server, address.port);
  }

  text(path: string, body: string | Buffer, headers: Record<string, string> = {}): void {
    this.answers.set(path, (_request, response) => void response.writeHead(200, headers).end(body));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function failure(building: Promise<BuildOutcome>): Promise<EngineError> {
  const error = await building.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof EngineError, `an EngineError, not ${String(error)}`);
  return error;
}

describe('ADD from the network', { skip }, () => {
  let builds: BuildBench;
  let web: Web;
  before(async () => {
    builds = await openBuilds({ httpLimitBytes: 1024 * 1024 });
    web = await Web.open();
  });
  after(async () => {
    await web[Symbol.asyncDispose]();
    await builds[Symbol.asyncDispose]();
  });
  const nothingLeft = () => assert.deepEqual(readdirSync(builds.store.paths.tmp), []);

  test('a file is 0600 of root, named after its URL, with the time that the server says', async () => {
    web.text('/dir/a%20b.txt', 'hello', { 'last-modified': 'Wed, 21 Oct 2015 07:28:00 GMT' });
    const { tree } = await builds.build(`FROM scratch\nADD ${web.address}/dir/a%20b.txt?x=1#y /d/`, {}, { timestamps: 'source' });
    assert.deepEqual(await builds.list(tree.id), ['d d 755 0:0', 'f d/a b.txt 600 0:0 "hello"']);
    const [entry] = await builds.store.trees.list(tree.id, 'd' as never);
    assert.equal(entry?.mtimeSec, Date.UTC(2015, 9, 21, 7, 28) / 1000);
    nothingLeft();
  });

  test('a file to a name, with owner and mode', async () => {
    web.text('/f', 'hello');
    const { tree } = await builds.build(`FROM scratch\nADD --chown=3:4 --chmod=755 ${web.address}/f /x/y`);
    assert.deepEqual(await builds.list(tree.id), ['d x 755 3:4', 'f x/y 755 3:4 "hello"']);
  });

  test('a URL without a name', async () => {
    web.text('/', 'root');
    const { tree } = await builds.build(`FROM scratch\nADD ${web.address}/ /d/`);
    assert.deepEqual(await builds.list(tree.id), ['d d 755 0:0', 'f d/__unnamed__ 600 0:0 "root"']);
  });

  test('what the server says is unchanged is not sent again, and nothing runs', async () => {
    let sent = 0;
    web.answers.set('/etag', (request, response) => {
      if (request.headers['if-none-match'] === '"one"') return void response.writeHead(304).end();
      sent++;
      response.writeHead(200, { etag: '"one"' }).end('content');
    });
    const dockerfile = `FROM scratch\nADD ${web.address}/etag /f`;
    const first = await builds.build(dockerfile);
    const second = await builds.build(dockerfile);
    assert.equal(sent, 1);
    assert.equal(second.image?.id, first.image?.id);
    assert.equal(second.cachedVertices, second.vertices);
  });

  test('Last-Modified serves where there is no ETag', async () => {
    const at = 'Wed, 21 Oct 2015 07:28:00 GMT';
    let sent = 0;
    web.answers.set('/time', (request, response) => {
      if (request.headers['if-modified-since'] === at) return void response.writeHead(304).end();
      sent++;
      response.writeHead(200, { 'last-modified': at }).end('content');
    });
    for (let i = 0; i < 2; i++) await builds.build(`FROM scratch\nADD ${web.address}/time /f`);
    assert.equal(sent, 1);
  });

  test('changed content makes a new image; the same bytes under another ETag do not', async () => {
    const dockerfile = `FROM scratch\nADD ${web.address}/moving /f`;
    web.text('/moving', 'one', { etag: '"1"' });
    const first = await builds.build(dockerfile);
    web.text('/moving', 'one', { etag: '"2"' });
    const same = await builds.build(dockerfile);
    assert.equal(same.image?.id, first.image?.id);
    assert.equal(same.cachedVertices, same.vertices);
    web.text('/moving', 'two', { etag: '"3"' });
    const changed = await builds.build(dockerfile);
    assert.deepEqual(await builds.list(changed.tree.id), ['f f 600 0:0 "two"']);
  });

  test('a checksum that is right, and then not even a question', async () => {
    web.text('/sum', 'content');
    const dockerfile = `FROM scratch\nADD --checksum=${sha256('content')} ${web.address}/sum /f`;
    await builds.build(dockerfile);
    const before = web.asked.length;
    const { tree } = await builds.build(dockerfile);
    assert.equal(web.asked.length, before);
    assert.deepEqual(await builds.list(tree.id), ['f f 600 0:0 "content"']);
  });

  test('sha512 too', async () => {
    web.text('/sum512', 'content');
    const digest = createHash('sha512').update('content').digest('hex');
    const { tree } = await builds.build(`FROM scratch\nADD --checksum=sha512:${digest} ${web.address}/sum512 /f`);
    assert.deepEqual(await builds.list(tree.id), ['f f 600 0:0 "content"']);
  });

  test('a server that lies about the digest: both are told, nothing is kept', async () => {
    web.text('/lie', 'something else', { etag: '"lie"' });
    const wanted = sha256('content of the lie');
    const error = await failure(builds.build(`FROM scratch\nADD --checksum=${wanted} ${web.address}/lie /f`));
    assert.equal(error.code, 'SOURCE_DIGEST_MISMATCH');
    assert.match(error.message, new RegExp(`^Dockerfile:2:\\d+: .*expected ${wanted}, got ${sha256('something else')}`));
    nothingLeft();
    web.text('/lie', 'content of the lie');
    const { tree } = await builds.build(`FROM scratch\nADD --checksum=${wanted} ${web.address}/lie /f`);
    assert.deepEqual(await builds.list(tree.id), ['f f 600 0:0 "content of the lie"']);
  });

  test('a server that sends less than it promised is asked again, and then told of', async () => {
    let requests = 0;
    web.answers.set('/short', (_request, response) => {
      requests++;
      response.writeHead(200, { 'content-length': '1000' });
      response.write('too little', () => response.destroy());
    });
    const error = await failure(builds.build(`FROM scratch\nADD ${web.address}/short /f`));
    assert.equal(error.kind, 'Unavailable');
    assert.equal(requests, 3);
    nothingLeft();
  });

  test('a server that recovers is not an error', async () => {
    let requests = 0;
    web.answers.set('/flaky', (_request, response) => {
      requests++;
      if (requests < 3) response.writeHead(503).end('later');
      else response.writeHead(200).end('at last');
    });
    const { tree } = await builds.build(`FROM scratch\nADD ${web.address}/flaky /f`);
    assert.deepEqual(await builds.list(tree.id), ['f f 600 0:0 "at last"']);
  });

  test('too large a file is refused by its length, and while it comes', async () => {
    web.answers.set('/large', (_request, response) => void response.writeHead(200, { 'content-length': '9999999999' }).write('x'));
    assert.equal((await failure(builds.build(`FROM scratch\nADD ${web.address}/large /f`))).code, 'SOURCE_TOO_LARGE');
    web.answers.set('/endless', (_request, response) => {
      response.writeHead(200);
      const more = () =>
        void (response.destroyed || (response.write(Buffer.alloc(64 * 1024)) ? setImmediate(more) : response.once('drain', more)));
      more();
    });
    assert.equal((await failure(builds.build(`FROM scratch\nADD ${web.address}/endless /f`))).code, 'SOURCE_TOO_LARGE');
    nothingLeft();
  });

  test('redirects are followed, but not forever', async () => {
    web.text('/end', 'there');
    web.answers.set('/start', (_request, response) => void response.writeHead(302, { location: '/end' }).end());
    web.answers.set('/loop', (_request, response) => void response.writeHead(302, { location: '/loop' }).end());
    const { tree } = await builds.build(`FROM scratch\nADD ${web.address}/start /f`);
    assert.deepEqual(await builds.list(tree.id), ['f f 600 0:0 "there"']);
    assert.equal((await failure(builds.build(`FROM scratch\nADD ${web.address}/loop /f`))).kind, 'Unavailable');
  });

  test('answers that are errors name the place, the URL without its secrets, and the status', async () => {
    const { port } = new URL(web.address);
    const error = await failure(builds.build(`FROM scratch\nADD http://user:hidden@127.0.0.1:${port}/none?token=hidden /f`));
    assert.equal(error.kind, 'NotFound');
    assert.match(
      error.message.split('\n')[0] ?? '',
      /^Dockerfile:2:5: http:\/\/127\.0\.0\.1:\d+\/none cannot be fetched: the server answered 404/,
    );
    assert.equal(web.asked.at(-1)?.headers.authorization, `Basic ${Buffer.from('user:hidden').toString('base64')}`);
    web.answers.set('/denied', (_request, response) => void response.writeHead(403).end());
    assert.equal((await failure(builds.build(`FROM scratch\nADD ${web.address}/denied /f`))).kind, 'Denied');
  });

  test('a redirect to another server does not carry the password along', async () => {
    await using other = await Web.open();
    other.text('/f', 'x');
    web.answers.set('/away', (_request, response) => void response.writeHead(307, { location: `${other.address}/f` }).end());
    await builds.build(`FROM scratch\nADD http://user:hidden@127.0.0.1:${new URL(web.address).port}/away /f`);
    assert.equal(web.asked.at(-1)?.headers.authorization, `Basic ${Buffer.from('user:hidden').toString('base64')}`);
    assert.equal(other.asked.at(-1)?.headers.authorization, undefined);
    web.answers.set('/file', (_request, response) => void response.writeHead(302, { location: 'file:///etc/passwd' }).end());
    assert.match((await failure(builds.build(`FROM scratch\nADD ${web.address}/file /f`))).message, /it redirects to file:/);
  });

  test("the daemon's proxy is used", async (t) => {
    await using proxy = await Web.open();
    proxy.text('/through', 'by the proxy');
    t.after(() => {
      delete process.env.HTTP_PROXY;
    });
    process.env.HTTP_PROXY = proxy.address;
    const { tree } = await builds.build('FROM scratch\nADD http://nowhere.invalid/through /f');
    assert.deepEqual(await builds.list(tree.id), ['f f 600 0:0 "by the proxy"']);
    assert.equal(proxy.asked[0]?.headers.host, 'nowhere.invalid');
  });

  test('an archive stays packed, unless --unpack is given', async () => {
    const archive = gzipSync(
      tar([
        { name: 'in/', type: '5' },
        { name: 'in/file', text: 'packed', uid: 7 },
      ]),
    );
    web.text('/a.tgz', archive);
    const packed = await builds.build(`FROM scratch\nADD ${web.address}/a.tgz /d/`);
    assert.match((await builds.list(packed.tree.id)).join('\n'), /^f d\/a\.tgz 600 0:0 /m);
    const unpacked = await builds.build(`FROM scratch\nADD --unpack ${web.address}/a.tgz /d/`);
    assert.deepEqual(await builds.list(unpacked.tree.id), ['d d 755 0:0', 'd d/in 644 0:0', 'f d/in/file 644 7:0 "packed"']);
  });

  test('a named context that is a URL of an archive', async () => {
    web.text(
      '/ctx.tar',
      tar([
        { name: 'lib/', type: '5', mode: 0o755 },
        { name: 'lib/a', text: 'x' },
      ]),
    );
    const { tree } = await builds.build(
      'FROM scratch\nCOPY --from=lib lib/a /',
      {},
      { contexts: { lib: { kind: 'remote', url: `${web.address}/ctx.tar` } } },
    );
    assert.deepEqual(await builds.list(tree.id), ['f a 644 0:0 "x"']);
  });

  test('one URL in several steps is fetched once a build', async () => {
    web.text('/once', 'x');
    const before = web.asked.length;
    await builds.build(`FROM scratch AS a\nADD ${web.address}/once /1\nFROM scratch\nCOPY --from=a /1 /1\nADD ${web.address}/once /2`);
    assert.equal(web.asked.length - before, 1);
  });

  test('a cancelled build leaves the server and no file', async () => {
    let closed = false;
    web.answers.set('/slow', (_request, response) => {
      response.writeHead(200).write('begin');
      response.once('close', () => {
        closed = true;
      });
    });
    const abort = new AbortController();
    const building = failure(builds.build(`FROM scratch\nADD ${web.address}/slow /f`, {}, { signal: abort.signal }));
    while (!web.asked.some((request) => request.url === '/slow')) await setTimeout(10);
    abort.abort();
    assert.equal((await building).kind, 'Cancelled');
    for (let i = 0; i < 100 && !closed; i++) await setTimeout(10);
    assert.ok(closed);
    nothingLeft();
  });
});

/** A repository with two commits, a tag, a branch, an annotated tag and a link, served by `git daemon` on loopback. */
async function openGit(t: { after(fn: () => void | Promise<void>): void }) {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-git-'));
  const work = join(folder, 'work');
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: folder,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@x',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@x',
  };
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: work, env, stdio: ['ignore', 'pipe', 'pipe'] })
      .toString()
      .trim();
  mkdirSync(join(work, 'sub/deep'), { recursive: true });
  git('init', '-q', '-b', 'main');
  writeFileSync(join(work, 'a'), 'one');
  writeFileSync(join(work, 'sub/deep/b'), 'below', { mode: 0o755 });
  git('add', '.');
  git('commit', '-qm', 'one');
  git('tag', 'v1');
  const first = git('rev-parse', 'HEAD');
  git('checkout', '-qb', 'feature/x');
  writeFileSync(join(work, 'a'), 'feature');
  git('commit', '-qam', 'feature');
  git('tag', '-a', '-m', 'annotated', 'v2');
  git('checkout', '-q', 'main');
  writeFileSync(join(work, 'a'), 'two');
  git('commit', '-qam', 'two');
  execFileSync('git', ['clone', '-q', '--bare', work, join(folder, 'repo.git')], { env });
  const push = () => git('push', '-q', '--all', join(folder, 'repo.git'));
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const daemon = spawn('git', ['daemon', '--export-all', '--listen=127.0.0.1', `--port=${port}`, '--reuseaddr', `--base-path=${folder}`], {
    env,
    stdio: 'ignore',
    detached: true,
  });
  t.after(async () => {
    const ended = new Promise((resolve) => daemon.once('exit', resolve));
    // The group: git starts the daemon as a child of its own.
    if (daemon.pid !== undefined) process.kill(-daemon.pid, 'SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  await listening(port);
  return { remote: `git://127.0.0.1:${port}/repo.git`, port, folder, work, git, push, first };
}

/** The repositories of a folder over http, by git's own CGI program, for who has the token. */
async function serveHttp(folder: string, token: string): Promise<{ port: number; close(): void }> {
  const expected = `Basic ${Buffer.from(`x-access-token:${token}`).toString('base64')}`;
  const server = createServer((request, response) => {
    if (request.headers.authorization !== expected) return void response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://x');
    const env = {
      PATH: process.env.PATH ?? '',
      GIT_PROJECT_ROOT: folder,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_NOSYSTEM: '1',
      REMOTE_USER: 'x',
      PATH_INFO: pathname,
      QUERY_STRING: searchParams.toString(),
      REQUEST_METHOD: request.method ?? '',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
    };
    const cgi = spawn('git', ['http-backend'], { env, stdio: ['pipe', 'pipe', 'ignore'] });
    request.pipe(cgi.stdin);
    const pieces: Buffer[] = [];
    cgi.stdout.on('data', (piece: Buffer) => pieces.push(piece));
    cgi.stdout.on('end', () => {
      const answer = Buffer.concat(pieces);
      const end = answer.indexOf('\r\n\r\n');
      const headers = answer
        .subarray(0, end)
        .toString()
        .split('\r\n')
        .map((line) => line.split(': ', 2) as [string, string]);
      const status = headers.find(([name]) => name === 'Status')?.[1] ?? '200';
      response
        .writeHead(Number.parseInt(status, 10), Object.fromEntries(headers.filter(([name]) => name !== 'Status')))
        .end(answer.subarray(end + 4));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { port: address.port, close };
}

async function listening(port: number): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const socket = connect(port, '127.0.0.1');
    const answers = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (answers) return;
    await setTimeout(20);
  }
  throw new Error(`nothing listens on port ${port}`);
}

describe('ADD from git', { skip }, () => {
  let builds: BuildBench;
  let repository: Awaited<ReturnType<typeof openGit>>;
  const cleanups: (() => void | Promise<void>)[] = [];
  before(async () => {
    builds = await openBuilds();
    repository = await openGit({ after: (fn) => void cleanups.push(fn) });
  });
  after(async () => {
    for (const cleanup of cleanups) await cleanup();
    await builds[Symbol.asyncDispose]();
  });
  const add = (suffix = '', flags = '') => builds.build(`FROM scratch\nADD ${flags}${repository.remote}${suffix} /`);
  const text = async (suffix: string) => builds.text((await add(suffix)).tree.id, 'a');

  test('the default branch, without .git', async () => {
    const { tree } = await add();
    assert.deepEqual(await builds.list(tree.id), [
      'f a 644 0:0 "two"',
      'd sub 755 0:0',
      'd sub/deep 755 0:0',
      'f sub/deep/b 755 0:0 "below"',
    ]);
    assert.deepEqual(readdirSync(builds.store.paths.tmp), []);
  });

  test('a branch, a tag, an annotated tag, a full ref, a commit', async () => {
    assert.equal(await text('#feature/x'), 'feature');
    assert.equal(await text('#v1'), 'one');
    assert.equal(await text('#v2'), 'feature');
    assert.equal(await text('#refs/heads/main'), 'two');
    assert.equal(await text(`#${repository.first}`), 'one');
    assert.equal(await text('?tag=v1'), 'one');
    assert.equal(await text('?branch=feature/x'), 'feature');
    assert.equal(await text('?ref=v1'), 'one');
  });

  test('a subdirectory', async () => {
    const listing = ['d deep 755 0:0', 'f deep/b 755 0:0 "below"'];
    assert.deepEqual(await builds.list((await add('#main:sub')).tree.id), listing);
    assert.deepEqual(await builds.list((await add('#:/sub/')).tree.id), listing);
    assert.deepEqual(await builds.list((await add('?subdir=sub')).tree.id), listing);
    assert.match((await failure(add('#main:none'))).message, /^Dockerfile:2:5: .*has no directory none/);
  });

  test('.git is kept on request', async () => {
    for (const [suffix, flags] of [
      ['', '--keep-git-dir '],
      ['?keep-git-dir=1', ''],
    ] as const) {
      const lines = await builds.list((await add(suffix, flags)).tree.id);
      assert.ok(lines.some((line) => line.startsWith('f .git/HEAD ')));
    }
    const lines = await builds.list((await add('', '--keep-git-dir=false ')).tree.id);
    assert.ok(!lines.some((line) => line.includes('.git')));
  });

  test('a checksum', async () => {
    assert.equal(await builds.text((await add('#v1', `--checksum=${repository.first} `)).tree.id, 'a'), 'one');
    assert.equal(await builds.text((await add(`?tag=v1&checksum=${repository.first.slice(0, 10)}`)).tree.id, 'a'), 'one');
    const error = await failure(add('', `--checksum=${repository.first} `));
    assert.equal(error.code, 'SOURCE_DIGEST_MISMATCH');
  });

  test('a commit that is known is not fetched again; a branch that moved is', async () => {
    const first = await add('#main');
    const second = await add('#main');
    assert.equal(second.image?.id, first.image?.id);
    assert.equal(second.cachedVertices, second.vertices);
    writeFileSync(join(repository.work, 'a'), 'three');
    repository.git('commit', '-qam', 'three');
    repository.push();
    assert.equal(await text('#main'), 'three');
  });

  test('what is not there is told with its place', async () => {
    assert.match((await failure(add('#nowhere'))).message, /^Dockerfile:2:5: git:\/\/127.*has no branch, tag or commit nowhere/);
    const missing = await failure(builds.build(`FROM scratch\nADD git://127.0.0.1:${repository.port}/none.git /`));
    assert.equal(missing.code, 'GIT_FAILED');
  });

  test('a ref that looks like an option is only a name', async () => {
    assert.equal((await failure(add('#--upload-pack=touch'))).code, 'SOURCE_NOT_FOUND');
  });

  test('without the program the error says how to get it', async (t: TestContext) => {
    const path = process.env.PATH;
    t.after(() => {
      process.env.PATH = path;
    });
    process.env.PATH = '/nonexistent';
    const error = await failure(add('#v1', '--keep-git-dir '));
    assert.equal(error.code, 'GIT_MISSING');
    assert.match(error.hint ?? '', /apt install git/);
  });

  test('a named context from git', async () => {
    const { tree } = await builds.build(
      'FROM scratch\nCOPY --from=lib /sub/deep/b /',
      {},
      { contexts: { lib: { kind: 'remote', url: `${repository.remote}#v1` } } },
    );
    assert.deepEqual(await builds.list(tree.id), ['f b 755 0:0 "below"']);
  });

  test('over http, with the token that the build brought, which no file and no argument shows', async (t) => {
    const server = await serveHttp(repository.folder, 'sesame');
    t.after(() => server.close());
    const dockerfile = `FROM scratch\nADD http://127.0.0.1:${server.port}/repo.git#v1 /`;
    const refused = await failure(builds.build(dockerfile));
    assert.equal(refused.code, 'GIT_FAILED');
    const wrong = new GivenSecrets([['GIT_AUTH_TOKEN', Buffer.from('wrong')]]);
    assert.equal((await failure(builds.build(dockerfile, {}, { secrets: wrong }))).code, 'GIT_FAILED');
    for (const id of ['GIT_AUTH_TOKEN', `GIT_AUTH_TOKEN.127.0.0.1:${server.port}`]) {
      const secrets = new GivenSecrets([[id, Buffer.from('sesame\n')]]);
      const { tree, events } = await builds.build(`${dockerfile}\nENV by=${id.length}`, {}, { secrets });
      assert.equal(await builds.text(tree.id, 'a'), 'one');
      assert.ok(!JSON.stringify(events).includes('sesame'));
    }
  });

  test('submodules come along, unless told not to', async () => {
    const { work, git, push, remote, folder } = repository;
    git('-c', 'protocol.file.allow=always', 'submodule', '--quiet', 'add', join(folder, 'repo.git'), 'module');
    git('config', '-f', '.gitmodules', 'submodule.module.url', remote);
    git('commit', '-qam', 'module');
    push();
    assert.ok(work.length > 0);
    const lines = await builds.list((await add('#main')).tree.id);
    assert.ok(lines.includes('f module/sub/deep/b 755 0:0 "below"'), lines.join('\n'));
    assert.ok(!lines.some((line) => / module\/\.git /.test(line)));
    assert.ok(!(await builds.list((await add('?branch=main&submodules=false')).tree.id)).some((line) => line.includes('module/sub')));
  });
});
