import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { FakeContainers } from '../integration/api-fakes.ts';
import { Client, serve } from '../integration/api-serve.ts';
import { authorizationScene, bodyOf } from './authorization-plugin.ts';

const create = '{"Image":"evil"}';
const json = 'Content-Type: application/json';

/** A listener whose plugin knows `evil` when it sees it, and takes anything else. */
async function scene(t: TestContext) {
  const { plugins, authorization } = await authorizationScene(t, ['policy']);
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() }, { authorization });
  plugins.policy.decide = (asked) => ({ Allow: !bodyOf(asked).includes('evil'), Msg: 'evil' });
  const send = async (lines: string[], body: string | Buffer, expected: readonly number[][]) => {
    const client = new Client(path);
    client.send(lines, body);
    const statuses = () => [...client.received.toString('latin1').matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
    await settled(client, () => expected.some((each) => JSON.stringify(each) === JSON.stringify(statuses())));
    client.socket.destroy();
    return statuses();
  };
  return { send, containers, plugin: plugins.policy };
}

/** Until the connection ends, or nothing more has come for a while: for a short one where what came is enough, which may be nothing. */
async function settled(client: Client, isEnough: () => boolean): Promise<void> {
  let changedAtMs = performance.now();
  let bytes = 0;
  client.ended.catch(() => undefined);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    const nowMs = performance.now();
    if (client.received.length !== bytes) [bytes, changedAtMs] = [client.received.length, nowMs];
    if (client.socket.readableEnded || client.socket.destroyed) return;
    if (nowMs - changedAtMs > (isEnough() ? (bytes > 0 ? 150 : 1_000) : 20_000)) return;
  }
}

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const post = 'POST /containers/create HTTP/1.1';

/** Name, head, body, statuses that may be answered in order; none of them may create a container. */
const tricks: [string, string[], string | Buffer, number[][]][] = [
  ['a body that says its length', [post, json, `Content-Length: ${create.length}`], create, [[403]]],
  ['Content-Length: 0 with a body', [post, json, 'Content-Length: 0'], create, [[400, 400], [400]]],
  ['no length with a body', [post, json], create, [[400, 400], [400]]],
  [
    'Content-Length and Transfer-Encoding',
    [post, json, 'Content-Length: 4', 'Transfer-Encoding: chunked'],
    chunk(create) + chunk(''),
    [[400]],
  ],
  [
    'Transfer-Encoding and Content-Length: 0',
    [post, json, 'Transfer-Encoding: chunked', 'Content-Length: 0'],
    chunk(create) + chunk(''),
    [[400]],
  ],
  ['two lengths', [post, json, 'Content-Length: 0', `Content-Length: ${create.length}`], create, [[400]]],
  ['a list of lengths', [post, json, `Content-Length: 0, ${create.length}`], create, [[400]]],
  ['a negative length', [post, json, 'Content-Length: -1'], create, [[400]]],
  ['a length with a sign', [post, json, `Content-Length: +${create.length}`], create, [[400]]],
  ['a length in hexadecimal', [post, json, 'Content-Length: 0x10'], create, [[400]]],
  ['a length beyond 64 bits', [post, json, 'Content-Length: 18446744073709551632'], create, [[400]]],
  ['a space before the colon', [post, json, `Content-Length : ${create.length}`], create, [[400]]],
  ['a folded header', [post, json, 'X: y', ` Content-Length: ${create.length}`], create, [[400]]],
  ['a bare line feed in a header', [post, json, `X: y\nContent-Length: ${create.length}`], create, [[400]]],
  ['a bare carriage return in a header', [post, json, `X: y\rContent-Length: ${create.length}`], create, [[400]]],
  ['chunked, in one piece', [post, json, 'Transfer-Encoding: chunked'], chunk(create) + chunk(''), [[403]]],
  ['chunked, byte by byte', [post, json, 'Transfer-Encoding: chunked'], [...create].map(chunk).join('') + chunk(''), [[403]]],
  ['chunked, and data after the end', [post, json, 'Transfer-Encoding: chunked'], `${chunk('')}${create}`, [[400, 400], [400]]],
  [
    'chunked, and a request after the end',
    [post, json, 'Transfer-Encoding: chunked'],
    `${chunk('{"Image":""}')}${chunk('')}${post}\r\nHost: x\r\n${json}\r\nContent-Length: ${create.length}\r\n\r\n${create}`,
    [[400, 403]],
  ],
  ['chunked, a size that is too small', [post, json, 'Transfer-Encoding: chunked'], `2\r\n${create}\r\n0\r\n\r\n`, [[400]]],
  ['chunked, a size that is too large', [post, json, 'Transfer-Encoding: chunked'], `ff\r\n${create}\r\n0\r\n\r\n`, [[400], []]],
  ['chunked, a size that overflows', [post, json, 'Transfer-Encoding: chunked'], `10000000000000010\r\n${create}\r\n0\r\n\r\n`, [[400]]],
  ['chunked, a line feed instead of a line end', [post, json, 'Transfer-Encoding: chunked'], `10\n${create}\n0\n\n`, [[400]]],
  ['chunked, with an extension', [post, json, 'Transfer-Encoding: chunked'], `10;x=y\r\n${create}\r\n0\r\n\r\n`, [[403], [400]]],
  ['chunked, with a trailer', [post, json, 'Transfer-Encoding: chunked'], `${chunk(create)}0\r\nContent-Type: text/plain\r\n\r\n`, [[403]]],
  ['chunked under another name', [post, json, 'Transfer-Encoding: xchunked'], chunk(create) + chunk(''), [[400]]],
  ['chunked twice', [post, json, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], chunk(create) + chunk(''), [[400], [403]]],
  ['chunked that is not last', [post, json, 'Transfer-Encoding: chunked, identity'], chunk(create) + chunk(''), [[400]]],
  [
    'an encoding that hides the text',
    [post, json, 'Content-Encoding: gzip', 'Content-Length: 4'],
    Buffer.from([0x1f, 0x8b, 8, 0]),
    [[400]],
  ],
  ['a type in another case', [post, 'CONTENT-TYPE: Application/JSON; charset=utf-16', `Content-Length: ${create.length}`], create, [[403]]],
  ['two types, JSON last', [post, 'Content-Type: text/plain', json, `Content-Length: ${create.length}`], create, [[400]]],
  ['two types, JSON first', [post, json, 'Content-Type: text/plain', `Content-Length: ${create.length}`], create, [[403]]],
  ['a body that is cut', [post, json, 'Content-Length: 100'], create, [[], [400], [499]]],
  ['an upgrade with a body', [post, json, 'Connection: Upgrade', 'Upgrade: tcp', `Content-Length: ${create.length}`], create, [[403]]],
  ['an upgrade with an empty body and more', [post, json, 'Connection: Upgrade', 'Upgrade: tcp', 'Content-Length: 0'], create, [[400]]],
  [
    'an upgrade that is chunked',
    [post, json, 'Connection: Upgrade', 'Upgrade: tcp', 'Transfer-Encoding: chunked'],
    chunk(create) + chunk(''),
    [[403]],
  ],
  [
    'an upgrade to HTTP/2',
    [
      post,
      json,
      'Connection: Upgrade, HTTP2-Settings',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAAQAAP__',
      `Content-Length: ${create.length}`,
    ],
    create,
    [[403]],
  ],
  ['waiting for 100', [post, json, 'Expect: 100-continue', `Content-Length: ${create.length}`], create, [[100, 403], [403]]],
  [
    'another method in a header',
    ['GET /containers/json HTTP/1.1', 'X-HTTP-Method-Override: POST', json, `Content-Length: ${create.length}`],
    create,
    [[403]],
  ],
  ['HTTP/1.0', ['POST /containers/create HTTP/1.0', json, `Content-Length: ${create.length}`], create, [[403]]],
  [
    'HTTP/1.0 and chunked',
    ['POST /containers/create HTTP/1.0', json, 'Transfer-Encoding: chunked'],
    chunk(create) + chunk(''),
    [[400], [403]],
  ],
  ['a preface of HTTP/2', ['PRI * HTTP/2.0', '', 'SM'], '', [[400], []]],
];

describe('no request gets past a plugin unseen', { concurrency: 8 }, () => {
  for (const [name, head, body, expected] of tricks) {
    test(name, async (t) => {
      const { send, containers, plugin } = await scene(t);
      const statuses = await send([head[0] ?? '', 'Host: x', ...head.slice(1)], body, expected);
      assert.ok(
        expected.some((each) => JSON.stringify(each) === JSON.stringify(statuses)),
        `answered ${JSON.stringify(statuses)}, expected ${JSON.stringify(expected)}; the plugin saw ${JSON.stringify(plugin.asked.map(bodyOf))}`,
      );
      assert.deepEqual(containers.created, []);
    });
  }
});

test('of pipelined requests each is judged by itself', async (t) => {
  const { send, containers, plugin } = await scene(t);
  const good = '{"Image":"good"}';
  const one = (body: string) => `${post}\r\nHost: x\r\n${json}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const statuses = await send([post, 'Host: x', json, `Content-Length: ${good.length}`], good + one(create) + one(good) + one(create), [
    [201, 403, 201, 403],
  ]);
  assert.deepEqual(statuses, [201, 403, 201, 403]);
  assert.deepEqual(
    containers.created.map(({ request }) => request.Image),
    ['good', 'good'],
  );
  assert.equal(plugin.lines.length, 4);
});

test('what follows an upgrade is the process’s input and no request', async (t) => {
  const { send, containers, plugin } = await scene(t);
  await send(
    ['POST /containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: tcp'],
    `${post}\r\nHost: x\r\n${json}\r\nContent-Length: ${create.length}\r\n\r\n${create}`,
    [[101]],
  );
  assert.deepEqual(containers.created, []);
  assert.equal(plugin.lines.length, 1);
});
