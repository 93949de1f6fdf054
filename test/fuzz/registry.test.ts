import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { EngineError } from '../../src/base/errors.ts';
import { digestOf, sha256 } from '../../src/oci/digest.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import type { Repository } from '../../src/transport/registry/port.ts';

const bytes = Buffer.from(Array.from({ length: 2000 }, (_, index) => index % 251));
const digest = digestOf(sha256(bytes));
const blob = { digest, size: bytes.length };

const status = fc.constantFrom(200, 200, 200, 201, 202, 204, 206, 302, 307, 400, 401, 403, 404, 405, 416, 429, 500, 503, 599, 299);
const header = fc.oneof(
  fc.tuple(
    fc.constant('Location'),
    fc.constantFrom('/upload', '/v2/', 'http://', '', '//[', 'ftp://x/', 'http://127.0.0.1:1/x', '?digest=x', '\u00e9', 'http://a:b@c/'),
  ),
  fc.tuple(fc.constant('Range'), fc.constantFrom('0-0', '0-1999', 'bytes=0-5', '5-0', '0-99999999999999999', 'x')),
  fc.tuple(
    fc.constant('Content-Range'),
    fc.constantFrom('bytes 0-9/2000', 'bytes 10-1999/2000', 'bytes 5-1/2', 'bytes */2000', 'bytes 0-1999/*', 'x'),
  ),
  fc.tuple(
    fc.constant('WWW-Authenticate'),
    fc.constantFrom('Basic', 'Bearer', 'Bearer realm="http://127.0.0.1:1/"', 'Bearer realm=":"', ',,="', 'Basic realm="'),
  ),
  fc.tuple(fc.constant('Link'), fc.constantFrom('</v2/x>; rel="next"', '<>; rel=next', '<http://x/>; rel="next"', '<//[>; rel=next', ';')),
  fc.tuple(fc.constant('Retry-After'), fc.constantFrom('0', '-1', 'x', 'Thu, 01 Jan 1970 00:00:00 GMT', '1e9')),
  fc.tuple(
    fc.constant('Content-Type'),
    fc.constantFrom('application/vnd.oci.image.manifest.v1+json', 'application/json', 'multipart/byteranges', ';', 'text/html'),
  ),
  fc.tuple(fc.constant('Docker-Content-Digest'), fc.constantFrom(digest, digestOf(sha256('x')), 'sha256:x', '')),
  fc.tuple(fc.constant('OCI-Chunk-Min-Length'), fc.constantFrom('-1', 'x', '999999999999')),
);
const body = fc.oneof(
  fc.constant(bytes),
  fc.constant(bytes.subarray(0, 100)),
  fc.constant(Buffer.concat([bytes, bytes])),
  fc.json().map((text) => Buffer.from(text)),
  fc
    .constantFrom(
      '',
      '{"errors":[null]}',
      '{"errors":[{"code":5}]}',
      '{"tags":[1,null,"a"]}',
      '{"manifests":[null,{"digest":1}]}',
      '{"token":"\\n"}',
    )
    .map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 50 }).map((array) => Buffer.from(array)),
);
const answers = fc.array(fc.record({ status, headers: fc.array(header, { maxLength: 4 }), body, cut: fc.boolean() }), {
  minLength: 1,
  maxLength: 6,
});

const calls: ((repository: Repository) => Promise<void>)[] = [
  async (repository) => {
    const found = await repository.head('latest');
    assert.ok(found === undefined || found.digest.length === 71);
  },
  async (repository) => {
    const { descriptor, bytes: found } = await repository.manifest('latest');
    assert.equal(descriptor.digest, digestOf(sha256(found)));
  },
  async (repository) => assert.equal((await repository.manifest(digest)).descriptor.digest, digest),
  (repository) => repository.putManifest('latest', Buffer.from(JSON.stringify({ subject: { digest } })), 'application/json'),
  (repository) => repository.deleteManifest(digest),
  async (repository) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of repository.blob(blob)) chunks.push(chunk);
    assert.ok(Buffer.concat(chunks).equals(bytes));
  },
  async (repository) => {
    const ranges = [
      { offset: 0, length: 10 },
      { offset: 500, length: 100 },
    ];
    let index = 0;
    for await (const part of repository.parts(blob, ranges)) {
      assert.deepEqual({ offset: part.offset, length: part.bytes.length }, ranges[index++]);
    }
    assert.equal(index, 2);
  },
  async (repository) => {
    const source = {
      async *read(offset: number) {
        yield bytes.subarray(offset);
      },
    };
    assert.ok(['present', 'mounted', 'uploaded'].includes(await repository.upload(blob, source, { mountFrom: ['other'] })));
  },
  async (repository) => assert.ok((await repository.tags()).every((tag) => /^\w[\w.-]*$/.test(tag))),
  async (repository) => assert.ok((await repository.referrers(digest)).every((each) => each.size >= 0)),
];

test('whatever a registry answers, a call gives what it promises or an error of its own', { timeout: 30_000 }, async (t) => {
  let script: { status: number; headers: [string, string][]; body: Buffer; cut: boolean }[] = [];
  let turn = 0;
  const server = createServer(async (request, response) => {
    request.resume();
    // In the end it is a plain one: what is asked again and again must come to an end.
    const answer = script[turn++] ?? { status: 404, headers: [], body: Buffer.from('{}'), cut: false };
    for (const [name, value] of answer.headers) {
      try {
        response.setHeader(name, value);
      } catch {
        // Node does not send such a one.
      }
    }
    response.writeHead(answer.status);
    if (answer.cut) response.write(answer.body, () => response.destroy());
    else response.end(request.method === 'HEAD' ? '' : answer.body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const domain = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  await fc.assert(
    fc.asyncProperty(answers, fc.integer({ min: 0, max: calls.length - 1 }), fc.boolean(), async (given, index, hasPassword) => {
      script = given;
      turn = 0;
      const client = new RegistryClient({
        retries: { baseMs: 0, capMs: 0, attempts: 4 },
        timeouts: { connectMs: 2000, answerMs: 2000, stallMs: 2000 },
      });
      const auth = hasPassword ? { username: 'me', password: 'se-cret' } : undefined;
      const repository = client.repository({ domain, path: 'web' }, { auth, actions: 'pull,push' });
      try {
        await calls[index]?.(repository);
      } catch (error) {
        assert.ok(error instanceof EngineError, error instanceof Error ? `${error.stack}` : String(error));
        assert.doesNotMatch(`${error.message} ${error.hint}`, /se-cret/);
      }
    }),
    { numRuns: 600, interruptAfterTimeLimit: 4000, markInterruptAsFailure: false },
  );
});
