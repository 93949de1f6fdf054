import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { EngineError } from '../base/errors.ts';

const startTimeoutMs = 20_000;

/** Debian's docker-registry, unmodified, on loopback, behind a relay that counts the bytes of both directions. */
export class DemoRegistry {
  readonly #directory: string;
  #server: ChildProcess | undefined;
  #relay: Server | undefined;
  #sockets = new Set<Socket>();
  address = '';
  /** Bytes to the registry and from it, HTTP's headers among them. */
  sent = 0;
  received = 0;

  /** `directory`: what it keeps, emptied at its start and removed at its end. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Its address, for names of images. */
  async start(): Promise<string> {
    await rm(this.#directory, { recursive: true, force: true });
    await mkdir(this.#directory, { recursive: true });
    const port = await this.#freePort();
    const config = join(this.#directory, 'config.json');
    await writeFile(
      config,
      JSON.stringify({
        version: '0.1',
        log: { level: 'error', accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: join(this.#directory, 'data') } },
        http: { addr: `127.0.0.1:${port}` },
      }),
    );
    let failure: string | undefined;
    const environment = { ...process.env, OTEL_TRACES_EXPORTER: 'none' };
    const server = spawn(registryProgram(), ['serve', config], { stdio: 'ignore', detached: true, env: environment });
    server.once('error', ({ message }) => {
      failure = message;
    });
    server.once('exit', (code) => {
      failure ??= `it ended with status ${code}`;
    });
    this.#server = server;
    for (const end = performance.now() + startTimeoutMs; !(await answers(port)); ) {
      if (failure !== undefined || performance.now() > end)
        throw new EngineError('Unavailable', 'DEMO_REGISTRY', `docker-registry did not start: ${failure ?? 'no answer within 20 s'}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.address = `127.0.0.1:${await this.#startRelay(port)}`;
    return this.address;
  }

  async stop(): Promise<void> {
    this.#relay?.close();
    for (const socket of this.#sockets) socket.destroy();
    const server = this.#server;
    this.#server = undefined;
    if (server?.pid !== undefined && server.exitCode === null && server.signalCode === null) {
      const exit = once(server, 'exit');
      server.kill('SIGKILL');
      await exit;
    }
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #startRelay(port: number): Promise<number> {
    this.#relay = createServer({ allowHalfOpen: true }, (client) => {
      const target = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      for (const [from, to] of [
        [client, target],
        [target, client],
      ] as const) {
        this.#sockets.add(from);
        from.on('data', (bytes: Buffer) => {
          if (from === client) this.sent += bytes.length;
          else this.received += bytes.length;
        });
        from.once('error', () => to.destroy());
        from.once('close', () => this.#sockets.delete(from));
        from.pipe(to);
      }
    });
    return await listen(this.#relay);
  }

  async #freePort(): Promise<number> {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** Installed, or unpacked by scripts/setup.sh. */
function registryProgram(): string {
  const unpacked = join(dirname(process.env.SLIPWAY_LAUNCHER ?? ''), '.clients/docker-registry/docker-registry');
  const found = ['/usr/bin/docker-registry', unpacked].find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new EngineError('Unavailable', 'DEMO_REGISTRY', 'the demo pushes to a registry, and there is no docker-registry here', {
    hint: 'Where apt has it: sh scripts/setup.sh demo',
  });
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const client = connect({ host: '127.0.0.1', port });
    client.once('connect', () => {
      client.destroy();
      resolve(true);
    });
    client.once('error', () => resolve(false));
  });
}
