import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeFrame, FrameDecoder } from '../../src/cli/client/frames.ts';

export type Received = { method: string; path: string; query: URLSearchParams; headers: IncomingMessage['headers']; body: Buffer };
type Handler = (request: Received, response: ServerResponse) => void;
type Upgraded = (request: Received, peer: FakePeer) => void;

/** The compiled sources of the runs before, where there are any. */
const compiled = process.env.NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE };
const cli = join(import.meta.dirname, '../../src/cli/main.ts');

/** The daemon's half of an upgraded connection. */
export class FakePeer {
  readonly socket: Socket;
  readonly controls: Record<string, unknown>[] = [];
  stdin = '';
  #changed = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    const decoder = new FrameDecoder(
      (stream, data) => {
        if (stream === 0) this.controls.push(JSON.parse(data.toString()) as Record<string, unknown>);
        else this.stdin += data.toString();
        this.#changed();
      },
      { whole: [0] },
    );
    socket.on('data', (piece: Buffer) => decoder.push(piece));
    socket.on('error', () => {});
  }

  control(message: unknown): void {
    this.socket.write(encodeFrame(0, JSON.stringify(message)));
  }

  output(stream: 1 | 2, text: string): void {
    this.socket.write(encodeFrame(stream, text));
  }

  /** Resolves once a control message with the key has come. */
  async untilControl(key: string): Promise<Record<string, unknown>> {
    for (;;) {
      const found = this.controls.find((message) => key in message);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}

/** Answers on a unix socket what a test tells it to, and keeps what it was asked. */
export class FakeDaemon implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'slipway-cli-'));
  readonly requests: Received[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #routes = new Map<string, Handler>();
  readonly #upgrades = new Map<string, Upgraded>();

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
    this.#server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => void this.#upgrade(request, socket, head));
  }

  static async start(): Promise<FakeDaemon> {
    const daemon = new FakeDaemon();
    daemon.#server.listen(daemon.socketPath);
    await once(daemon.#server, 'listening');
    return daemon;
  }

  get socketPath(): string {
    return join(this.folder, 's.sock');
  }

  /** `GET /containers/json`; the API's version is left out. */
  on(route: string, handler: Handler): void {
    this.#routes.set(route, handler);
  }

  onJson(route: string, status: number, body: unknown): void {
    this.on(route, (_request, response) => {
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  onUpgrade(route: string, handler: Upgraded): void {
    this.#upgrades.set(route, handler);
  }

  /** Runs the command line against this daemon to its end. */
  async run(argv: readonly string[], options: { stdin?: string | Buffer; env?: Record<string, string>; cwd?: string } = {}) {
    const child = this.spawn(argv, options);
    // A command may end without having read it.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.stdin ?? '');
    return finished(child);
  }

  spawn(argv: readonly string[], options: { env?: Record<string, string>; cwd?: string } = {}): ChildProcess {
    return spawn(process.execPath, [cli, ...argv], {
      cwd: options.cwd ?? this.folder,
      env: { ...compiled, PATH: process.env.PATH ?? '', SLIPWAY_HOST: `unix://${this.socketPath}`, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  /** The command line on a terminal of its own. */
  spawnOnTerminal(argv: readonly string[]): ChildProcess {
    const command = [process.execPath, cli, ...argv].join(' ');
    return spawn('script', ['-qefc', command, '/dev/null'], {
      cwd: this.folder,
      env: { ...compiled, PATH: process.env.PATH ?? '', SLIPWAY_HOST: `unix://${this.socketPath}`, TERM: 'xterm', SHELL: '/bin/sh' },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const received = receive(request);
    this.requests.push(received);
    const handler = this.#routes.get(`${received.method} ${received.path}`);
    if (handler === undefined) {
      response.writeHead(404, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify({ message: `no route ${received.method} ${received.path}`, code: 'ROUTE_NOT_FOUND' }));
      return;
    }
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    received.body = Buffer.concat(pieces);
    handler(received, response);
  }

  /** The body comes as the request's stream; what follows it on the socket belongs to the new protocol. */
  async #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const received = receive(request);
    this.requests.push(received);
    const handler = this.#upgrades.get(`${received.method} ${received.path}`);
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    received.body = Buffer.concat(pieces);
    if (handler === undefined) {
      const body = JSON.stringify({ message: 'No such image: img', code: 'IMAGE_NOT_FOUND', hint: 'See "slipway images".' });
      socket.end(`HTTP/1.1 404 Not Found\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
      return;
    }
    socket.write(`HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: ${request.headers.upgrade}\r\n\r\n`);
    if (head.length > 0) socket.unshift(head);
    handler(received, new FakePeer(socket));
  }
}

function receive(request: IncomingMessage): Received {
  const url = new URL(request.url ?? '/', 'http://slipway');
  const path = decodeURIComponent(url.pathname.replace(/^\/v1\.\d+/, ''));
  return { method: request.method ?? '', path, query: url.searchParams, headers: request.headers, body: Buffer.alloc(0) };
}

export async function finished(
  child: ChildProcess,
): Promise<{ status: number | null; signal: string | null; stdout: string; stderr: string }> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (piece: Buffer) => {
    stdout += piece.toString();
  });
  child.stderr?.on('data', (piece: Buffer) => {
    stderr += piece.toString();
  });
  child.stdin?.on('error', () => {});
  const [status, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { status, signal, stdout, stderr };
}
