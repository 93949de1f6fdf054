import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildApp } from '../../src/api/app.ts';
import { FrameDecoder, frame } from '../../src/api/framing.ts';
import type { FrameStream } from '../../src/api-types/own.ts';
import { FakeContainers, fakeServices } from '../integration/api-fakes.ts';

/** No request brings the daemon down, or makes it answer 500: what a client sends wrong is the client's mistake. */

const methods = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD'] as const;
const names = ['web', 'nope', '..', '%2e%2e', 'a%00b', '%', 'ü', ' ', 'x'.repeat(2000)];
const tails = ['', '/json', '/start', '/wait', '/logs', '/resize', '/exec', '/stop', '/kill', '/archive', '/tag', '/history', '/bogus/x'];
const families = [
  '/containers',
  '/images',
  '/networks',
  '/volumes',
  '/exec',
  '/v1.43/containers',
  '/v9.9/images',
  '/slipway/trees',
  '//',
  '/build',
];
const parameters = [
  'filters',
  't',
  'signal',
  'h',
  'w',
  'since',
  'tail',
  'stdout',
  'condition',
  'path',
  'buildargs',
  'limit',
  'all',
  'size',
  'name',
];

const query = fc.array(fc.tuple(fc.constantFrom(...parameters), fc.oneof(fc.string(), fc.json(), fc.integer().map(String))), {
  maxLength: 4,
});
const request = fc.record({
  method: fc.constantFrom(...methods),
  path: fc
    .tuple(fc.constantFrom(...families), fc.constantFrom(...names), fc.constantFrom(...tails))
    .map(([family, name, tail]) => `${family}/${name}${tail}`),
  query: query.map((pairs) => pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')),
  body: fc.oneof(fc.constant(undefined), fc.string(), fc.json()),
  type: fc.constantFrom('application/json', 'text/plain', 'application/x-tar', 'application/json; charset=x'),
});

test('requests of any shape get an answer with a message, and never a 500', async () => {
  const services = fakeServices({ containers: new FakeContainers().port() });
  services.stop();
  const app = buildApp(services);
  const isReal = (status: number, code: string) => status < 500 || [501, 503].includes(status) || code === 'NOT_FAKED';
  await fc.assert(
    fc.asyncProperty(request, async ({ method, path, query, body, type }) => {
      const payload = body === undefined ? {} : { payload: body, headers: { 'content-type': type } };
      const answer = await app.inject({ method, url: `${path}?${query}`, ...payload });
      if (answer.statusCode < 400 || method === 'HEAD') return;
      const told = JSON.parse(answer.body) as { message: string; code: string };
      assert.equal(typeof told.message, 'string');
      assert.ok(isReal(answer.statusCode, told.code), `${method} ${path}: ${answer.body}`);
    }),
    { numRuns: 1000, interruptAfterTimeLimit: 4000 },
  );
  await app.close();
});

test('frames survive any cut, and garbage is refused or waits for more', () => {
  const pieces = fc.array(fc.tuple(fc.constantFrom<FrameStream>(0, 3), fc.uint8Array({ maxLength: 50 })));
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 20 }), (sent, size) => {
      const bytes = Buffer.concat(sent.map(([stream, payload]) => frame(stream, payload)));
      const decoder = new FrameDecoder(() => 50);
      const received: [number, number[]][] = [];
      for (let at = 0; at < bytes.length; at += size) {
        for (const { stream, payload } of decoder.push(bytes.subarray(at, at + size))) received.push([stream, [...payload]]);
      }
      assert.deepEqual(
        received,
        sent.map(([stream, payload]) => [stream, [...payload]]),
      );
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        new FrameDecoder((stream) => (stream === 0 || stream === 3 ? 100 : undefined)).push(Buffer.from(bytes));
      } catch (error) {
        assert.equal((error as { code: string }).code, 'FRAME_INVALID');
      }
    }),
    { numRuns: 300 },
  );
});
