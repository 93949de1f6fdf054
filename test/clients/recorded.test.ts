import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { cannotRunDaemon } from '../integration/api-daemon-harness.ts';
import { againstDocker, Engine, until } from './support.ts';

/** A pattern for text, a value, or an object of which only these members count. */
type Expected = string | number | boolean | null | Expected[] | { [name: string]: Expected };
type Request = {
  /** Method and path; `{name}` is what was kept as such. */
  send: string;
  headers?: Record<string, string>;
  /** JSON. With `$from`, the members `$take` of an answer that was kept: the first one's own, and each other one under its name. */
  body?: Record<string, unknown>;
  expect: { status: number | number[]; headers?: Record<string, string>; body?: Expected; text?: string };
  /** Members of the answer's body by the name to keep them under; '' is all of it. */
  keep?: Record<string, string>;
  /** Keeps the connection under this name and reads on beside. */
  stream?: string;
};
type Streaming = { stream: string; send?: undefined; write?: string; end?: boolean; shows?: string; ends?: boolean };
type Recording = { client: string; about: string; exchanges: (Request | Streaming)[] };

const folder = join(import.meta.dirname, 'recordings');

/** A connection that carries one request, byte for byte as its client writes it. */
class Exchange {
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);
  ended = false;

  constructor(path: string, head: string, body: string) {
    this.#socket = createConnection({ path, allowHalfOpen: true });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
    });
    const end = () => {
      this.ended = true;
    };
    this.#socket.on('end', end).on('close', end).on('error', end);
    this.#socket.write(`${head}\r\n\r\n${body}`);
  }

  /** Status, headers in lower case, and where the body begins. */
  async head(): Promise<{ status: number; headers: Record<string, string>; length: number }> {
    const length = await until(() => (this.#bytes.includes('\r\n\r\n') ? this.#bytes.indexOf('\r\n\r\n') + 4 : undefined), 'an answer');
    const [line = '', ...fields] = this.#bytes
      .subarray(0, length - 4)
      .toString()
      .split('\r\n');
    const headers = Object.fromEntries(
      fields.map((field) => [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 1).trim()]),
    );
    return { status: Number(line.split(' ')[1]), headers, length };
  }

  async body(method: string): Promise<string> {
    const { status, headers, length } = await this.head();
    if (method === 'HEAD' || status === 204 || status === 304) return '';
    const whole = () => {
      const body = this.#bytes.subarray(length);
      if (headers['content-length'] !== undefined) return body.length >= Number(headers['content-length']) ? body.toString() : undefined;
      if (headers['transfer-encoding'] === 'chunked') return dechunk(body);
      return this.ended ? body.toString() : undefined;
    };
    return until(whole, 'the whole answer');
  }

  /** What came after the answer's head, as it came. */
  async raw(): Promise<string> {
    return this.#bytes.subarray((await this.head()).length).toString('latin1');
  }

  write(text: string): void {
    this.#socket.write(text);
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Undefined before the last chunk. */
function dechunk(bytes: Buffer): string | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = bytes.indexOf('\r\n', at);
    if (line === -1) return undefined;
    const size = Number.parseInt(bytes.subarray(at, line).toString(), 16);
    if (size === 0) return Buffer.concat(parts).toString();
    parts.push(bytes.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}

function check(actual: unknown, expected: Expected, at: string): void {
  if (typeof expected === 'string') {
    assert.match(String(actual), new RegExp(expected), at);
    return;
  }
  if (typeof expected !== 'object' || expected === null) {
    assert.equal(actual, expected, at);
    return;
  }
  assert.ok(typeof actual === 'object' && actual !== null, `${at} is ${JSON.stringify(actual)}`);
  if (Array.isArray(expected)) assert.equal((actual as unknown[]).length, expected.length, `length of ${at}: ${JSON.stringify(actual)}`);
  for (const [name, value] of Object.entries(expected))
    check((actual as Record<string, unknown>)[name], value as Expected, `${at}.${name}`);
}

/** What clients that cannot be installed here send, and what they count on in the answers. */
describe('recorded exchanges', { skip: cannotRunDaemon, timeout: 120_000 }, () => {
  const engine = new Engine();
  const opened: Exchange[] = [];
  before(() => engine.start());
  afterEach(async () => {
    for (const exchange of opened.splice(0)) exchange.destroy();
    await engine.sweep();
  });
  after(() => engine.remove());

  for (const file of readdirSync(folder)) {
    const { client, about, exchanges } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as Recording;
    test(`${client}: ${about}`, { skip: againstDocker && /^docker/.test(client) && 'a newer version than that one speaks' }, async () => {
      const kept: Record<string, unknown> = {};
      const streams = new Map<string, Exchange>();
      for (const exchange of exchanges) {
        if (exchange.send === undefined) await converse(exchange, streams);
        else await replay(exchange, kept, streams);
      }
    });
  }

  function open(head: string, body: string): Exchange {
    const exchange = new Exchange(engine.socket, head, body);
    opened.push(exchange);
    return exchange;
  }

  function bodyOf({ body }: Request, kept: Record<string, unknown>): string {
    if (body === undefined) return '';
    if (body.$from === undefined) return JSON.stringify(body);
    const source = kept[String(body.$from)] as Record<string, object>;
    const [first = '', ...others] = body.$take as string[];
    return JSON.stringify({ ...source[first], ...Object.fromEntries(others.map((name) => [name, source[name]])) });
  }

  async function replay(request: Request, kept: Record<string, unknown>, streams: Map<string, Exchange>): Promise<void> {
    const [method = '', path = ''] = request.send.replace(/\{(\w+)\}/g, (_, name: string) => String(kept[name])).split(' ');
    const body = bodyOf(request, kept);
    const length = method === 'POST' ? { 'Content-Length': String(Buffer.byteLength(body)) } : {};
    const type = body === '' ? {} : { 'Content-Type': 'application/json' };
    const fields = Object.entries({ ...type, ...length, ...request.headers }).map(([name, value]) => `${name}: ${value}`);
    const head = [`${method} ${path} HTTP/1.1`, ...fields].join('\r\n');
    const exchange = open(head, body);
    const { status, headers } = await exchange.head();
    const allowed = [request.expect.status].flat();
    assert.ok(allowed.includes(status), `${request.send}: ${status}, not ${allowed}: ${await exchange.raw()}`);
    check(headers, request.expect.headers ?? {}, `headers of ${request.send}`);
    if (request.stream !== undefined) {
      streams.set(request.stream, exchange);
      return;
    }
    const text = await exchange.body(method);
    exchange.destroy();
    if (request.expect.text !== undefined) await shows(new RegExp(request.expect.text), text, method === 'GET' ? head : undefined);
    const json = () => JSON.parse(text) as Record<string, unknown>;
    if (request.expect.body !== undefined) check(json(), request.expect.body, request.send);
    for (const [name, member] of Object.entries(request.keep ?? {})) kept[name] = member === '' ? json() : json()[member];
  }

  /** What is said. A container that has just started may say it later: who reads a log reads it again. */
  async function shows(pattern: RegExp, text: string, again: string | undefined): Promise<void> {
    let said = text;
    for (let times = 0; again !== undefined && !pattern.test(said) && times < 200; times++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const exchange = open(again, '');
      await exchange.head();
      said = await exchange.body('GET');
      exchange.destroy();
    }
    assert.match(said, pattern);
  }

  async function converse({ stream: name, write, end, shows, ends }: Streaming, streams: Map<string, Exchange>): Promise<void> {
    const stream = streams.get(name);
    assert.ok(stream !== undefined, name);
    if (write !== undefined) stream.write(write);
    if (end) stream.end();
    if (shows !== undefined) {
      const pattern = new RegExp(shows);
      await until(async () => pattern.test(await stream.raw()) || undefined, `${shows} in ${name}`).catch(async (error) => {
        throw new Error(`${name} shows ${JSON.stringify(await stream.raw())} and not ${shows}`, { cause: error });
      });
    }
    if (ends) await until(() => stream.ended || undefined, `the end of ${name}`);
  }
});
