import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { call, cannotRunDaemon, DaemonPlace, type DaemonProcess, upload } from '../integration/api-daemon-harness.ts';

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A client that says anything and reads what comes. */
class Raw {
  readonly socket: Socket;
  text = '';
  closed = false;

  constructor(path: string) {
    this.socket = connect({ path, allowHalfOpen: true });
    this.socket.on('data', (data: Buffer) => {
      if (this.text.length < 1 << 20) this.text += data.toString('latin1');
    });
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.on('end', () => this.socket.end());
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d+)/.exec(this.text)?.[1] ?? 0);
  }

  /** Until an answer is there or the connection is gone. */
  async answer(limitMs = 30_000): Promise<number> {
    const untilMs = performance.now() + limitMs;
    while (this.status === 0 && !this.closed && performance.now() < untilMs) await wait(5);
    return this.status;
  }
}

describe('clients that mean harm', { skip: cannotRunDaemon }, () => {
  const place = new DaemonPlace();
  let daemon: DaemonProcess;
  let container = '';
  before(async () => {
    daemon = await place.start();
    await upload(place.socket, '/images/create?fromSrc=-&repo=base&tag=1', place.imageTar());
    const created = await call(place.socket, 'POST', '/containers/create?name=victim', { Image: 'base:1', Cmd: ['sleep', '600'] });
    assert.equal(created.status, 201, created.text);
    container = (JSON.parse(created.text) as { Id: string }).Id;
  });
  after(() => place.remove());

  /** Whether others are served, in time, while `harm` goes on. */
  async function servesOthers(): Promise<void> {
    const sinceMs = performance.now();
    assert.equal((await call(place.socket, 'GET', '/containers/json?all=1')).status, 200);
    assert.ok(performance.now() - sinceMs < 5_000, `the daemon took ${Math.round(performance.now() - sinceMs)} ms for a listing`);
  }
  const residentMiB = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) / 1024;
  const descriptors = async () => (JSON.parse((await call(place.socket, 'GET', '/info')).text) as { NFd: number }).NFd;

  test('heads that are cut, huge, slow or no HTTP', async () => {
    const heads: [string, number[]][] = [
      ['GET /\r\n\r\n', [400]],
      ['\0\0\0\0', [400]],
      ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc', [400]],
      ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400]],
      [`GET /${'x'.repeat(1 << 20)} HTTP/1.1\r\n\r\n`, [400, 414, 431]],
      [`GET / HTTP/1.1\r\nX: ${'y'.repeat(1 << 20)}\r\n\r\n`, [400, 431]],
      [`GET / HTTP/1.1\r\nHost: x\r\n${Array.from({ length: 10_000 }, (_, i) => `X-${i}: y\r\n`).join('')}\r\n`, [400, 431]],
      ['GET / HTTP/9.9\r\n\r\n', [400]],
      ['GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n', [400]],
      ['GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', [400, 404]],
      ['GET / HTTP/1.1\r\n\r\n', [400]],
    ];
    for (const [head, allowed] of heads) {
      const client = new Raw(place.socket);
      client.socket.write(head, 'latin1');
      const status = await client.answer();
      // A client that is still sending when it is cut may not get to read why.
      const cutWhileSending = status === 0 && client.closed && head.length > 65_536;
      assert.ok(cutWhileSending || allowed.includes(status), `${JSON.stringify(head.slice(0, 40))} was answered with ${status}`);
      client.socket.destroy();
    }
    const cut = Array.from({ length: 50 }, () => new Raw(place.socket));
    for (const client of cut) client.socket.write('POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Le');
    await servesOthers();
    for (const client of cut) client.socket.destroy();
    await servesOthers();
  });

  test('bodies that are cut, huge or slow', async () => {
    const head = (length: string) => `POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${length}\r\n\r\n`;
    const huge = new Raw(place.socket);
    huge.socket.write(head('Content-Length: 999999999999'));
    assert.equal(await huge.answer(), 413);
    huge.socket.destroy();
    const endless = new Raw(place.socket);
    endless.socket.write(head('Transfer-Encoding: chunked'));
    const piece = `10000\r\n${' '.repeat(65_536)}\r\n`;
    const before = residentMiB();
    for (let sent = 0; sent < 1_500 && endless.status === 0 && !endless.closed; sent++) {
      if (!endless.socket.write(piece)) await Promise.race([once(endless.socket, 'drain'), wait(50)]);
    }
    assert.equal(await endless.answer(), 413);
    assert.ok(residentMiB() - before < 150, `from ${before} to ${residentMiB()} MiB`);
    endless.socket.destroy();
    const slow = Array.from({ length: 100 }, () => new Raw(place.socket));
    for (const client of slow) client.socket.write(`${head('Content-Length: 1000')}{`);
    await servesOthers();
    const nested = `{"Image":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`;
    const deep = new Raw(place.socket);
    deep.socket.write(head(`Content-Length: ${nested.length}`) + nested);
    assert.equal(await deep.answer(), 400);
    deep.socket.destroy();
    for (const client of slow) client.socket.destroy();
    await servesOthers();
  });

  test('a hijacked connection with requests behind it is input, and its request no door to others', async () => {
    await call(place.socket, 'POST', `/containers/${container}/start`);
    const client = new Raw(place.socket);
    const kill = `DELETE /containers/${container}?force=1 HTTP/1.1\r\nHost: x\r\n\r\n`;
    client.socket.write(
      `POST /containers/${container}/attach?stream=1&stdout=1&stdin=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n${kill.repeat(100)}`,
    );
    assert.equal(await client.answer(), 101);
    await wait(100);
    assert.equal((await call(place.socket, 'GET', `/containers/${container}/json`)).status, 200);
    client.socket.destroy();
    await servesOthers();
  });

  test('names and paths with slashes, dots and NULs reach nothing else', async () => {
    const secret = join(place.folder, 'secret');
    writeFileSync(secret, 'of the host');
    const up = '../'.repeat(20);
    const paths = [
      `${up}${secret}`,
      encodeURIComponent(`${up}${secret}`),
      `%2e%2e%2f`.repeat(20) + encodeURIComponent(secret),
      `/proc/self/root${secret}`,
      `/proc/1/root${secret}`,
      `/etc/..%2f..%2f..${encodeURIComponent(secret)}`,
      `/%00${encodeURIComponent(secret)}`,
      `%252e%252e%252f${encodeURIComponent(secret)}`,
    ];
    for (const path of paths) {
      const got = await call(place.socket, 'GET', `/containers/${container}/archive?path=${path}`);
      assert.ok([400, 404, 500].includes(got.status), `${path}: ${got.status}`);
      assert.doesNotMatch(got.text, /of the host/, path);
    }
    const escaped = await call(place.socket, 'GET', `/containers/${encodeURIComponent(`../containers/${container}`)}/json`);
    assert.equal(escaped.status, 404);
    for (const name of ['../x', 'a/b', '/a/b', '..', '.', 'a%00b', 'x'.repeat(5_000), '%2e%2e%2fx', 'a b']) {
      const created = await call(place.socket, 'POST', `/containers/create?name=${name.includes('%') ? name : encodeURIComponent(name)}`, {
        Image: 'base:1',
      });
      assert.ok([400, 414].includes(created.status), `${name.slice(0, 20)}: ${created.status} ${created.text}`);
      const volume = await call(place.socket, 'POST', '/volumes/create', { Name: decodeURIComponent(name) });
      assert.equal(volume.status, 400, `${name.slice(0, 20)}: ${volume.text}`);
    }
    assert.equal(readFileSync(secret, 'utf8'), 'of the host');
    assert.equal(existsSync(join(place.root, 'x')), false);
  });

  test('a thousand idle connections, and followers that never read', async () => {
    await call(place.socket, 'POST', `/containers/${container}/start`);
    // Once before, so that what the first use takes for good is not counted.
    await flood(100);
    await wait(300);
    const memory = residentMiB();
    const open = await descriptors();
    await flood(1_000);
    const untilMs = performance.now() + 20_000;
    while ((await descriptors()) > open + 5 && performance.now() < untilMs) await wait(50);
    assert.ok((await descriptors()) <= open + 5, `${await descriptors()} descriptors, ${open} before`);
    const settledMs = performance.now() + 20_000;
    while (residentMiB() > memory + 40 && performance.now() < settledMs) await wait(200);
    assert.ok(residentMiB() <= memory + 40, `from ${memory} to ${residentMiB()} MiB`);
    assert.equal(daemon.ended, false);
  });

  async function flood(count: number): Promise<void> {
    const clients: Raw[] = [];
    // Not more at once than wait to be accepted: the kernel refuses those itself.
    while (clients.length < count) {
      const some = Array.from({ length: 100 }, () => new Raw(place.socket));
      await Promise.all(some.map(({ socket }) => once(socket, 'connect')));
      clients.push(...some);
      // Accepted in order, so those before it have been.
      assert.equal((await call(place.socket, 'GET', '/_ping')).status, 200);
    }
    for (const [index, { socket }] of clients.entries()) {
      if (index % 4 === 0) socket.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n');
      if (index % 4 === 1) socket.write('GET /_ping HTTP/1.1\r\nHost: x\r\n');
      if (index % 4 === 2) socket.write('GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n');
    }
    await wait(100);
    await servesOthers();
    for (const { socket } of clients) socket.destroy();
    await servesOthers();
  }
});
