import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { buildApp } from '../../src/api/app.ts';
import { createHttpServer } from '../../src/api/server.ts';
import type { Services } from '../../src/api/services.ts';
import { fakeServices } from './api-fakes.ts';

/** The application on a real socket: framing and connection handling cannot be seen through `inject`. */
export async function serve(t: TestContext, change: Partial<Services> = {}, options: Parameters<typeof buildApp>[1] = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-api-'));
  const path = join(folder, 'api.sock');
  const services = fakeServices(change);
  const app = buildApp(services, options);
  await app.ready();
  const server = createHttpServer(app);
  server.listen(path);
  await once(server, 'listening');
  // What speaks TCP only, such as the WebSocket client of Node, comes in here.
  const tcp = createHttpServer(app).listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  t.after(async () => {
    services.stop();
    for (const each of [server, tcp]) {
      each.close();
      each.closeAllConnections();
    }
    await app.close();
    await rm(folder, { recursive: true, force: true });
  });
  return { path, services, port: (tcp.address() as AddressInfo).port };
}

/** A raw client that keeps all it reads. */
export class Client {
  readonly socket: Socket;
  received: Buffer = Buffer.alloc(0);
  readonly ended: Promise<unknown>;

  constructor(path: string) {
    this.socket = connect({ path, allowHalfOpen: true });
    this.socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
    });
    this.ended = once(this.socket, 'end');
  }

  send(lines: string[], body: string | Buffer = ''): void {
    this.socket.write(`${lines.join('\r\n')}\r\n\r\n`);
    this.socket.write(body);
  }

  async until(text: string): Promise<void> {
    while (!this.received.includes(text)) {
      await Promise.race([once(this.socket, 'data'), this.ended]);
      if (this.socket.readableEnded && !this.received.includes(text)) assert.fail(`ended before ${text}: ${this.received}`);
    }
  }

  /** What came after the header. */
  get body(): Buffer {
    return this.received.subarray(this.received.indexOf('\r\n\r\n') + 4);
  }
}

const header = (stream: number, length: number) => Buffer.from([stream, 0, 0, 0, 0, 0, length >> 8, length & 255]);
export const framed = (stream: number, text: string) => Buffer.concat([header(stream, Buffer.byteLength(text)), Buffer.from(text)]);

/** Frames of a whole body. */
export function frames(body: Buffer): [stream: number, text: string][] {
  const found: [number, string][] = [];
  for (let at = 0; at < body.length; ) {
    const length = body.readUInt32BE(at + 4);
    found.push([body[at] ?? -1, body.toString('utf8', at + 8, at + 8 + length)]);
    at += 8 + length;
  }
  return found;
}
