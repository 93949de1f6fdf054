import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from './engine.ts';
import type { Link } from './link.ts';
import { inNamespace } from './namespace.ts';
import { type Relay, startRelay, type WireCount } from './relay.ts';

/** Debian's docker-registry on a folder of its own, behind a relay that counts: on loopback, or at the far end of a link. */
export class BenchRegistry implements AsyncDisposable {
  readonly #directory: string;
  readonly #server: ChildProcess;
  readonly #relay: Relay;
  #last: WireCount = { up: 0, down: 0 };

  private constructor(directory: string, server: ChildProcess, relay: Relay) {
    this.#directory = directory;
    this.#server = server;
    this.#relay = relay;
  }

  static async start(link?: Link): Promise<BenchRegistry> {
    const directory = mkdtempSync(join(tmpdir(), 'slipway-bench-registry-'));
    const port = await freePort();
    const config = join(directory, 'config.json');
    writeFileSync(
      config,
      JSON.stringify({
        version: '0.1',
        log: { level: 'warn', accesslog: { disabled: true } },
        storage: { filesystem: { rootdirectory: join(directory, 'data') }, delete: { enabled: true } },
        http: { addr: `${link?.farAddress ?? '127.0.0.1'}:${port}` },
      }),
    );
    const log = openSync(join(directory, 'log'), 'a');
    const [command = '', ...words] = inNamespace(link?.farEnd, 'docker-registry', 'serve', config);
    const server = spawn(command, words, { stdio: ['ignore', log, log], env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' } });
    const relay = link === undefined ? await startRelay({ targetPort: port }) : await link.startRelay(port);
    const registry = new BenchRegistry(directory, server, relay);
    const end = performance.now() + 20_000;
    while (!(await registry.#answers(port, link))) {
      if (performance.now() > end || server.exitCode !== null)
        throw new Error(`docker-registry did not start:\n${readFileSync(join(directory, 'log'), 'utf8').slice(-2_000)}`);
      await sleep(50);
    }
    await registry.passed();
    return registry;
  }

  /** Where clients reach it. */
  get address(): string {
    return `127.0.0.1:${this.#relay.port}`;
  }

  /** Bytes that passed since the last call. */
  async passed(): Promise<WireCount> {
    // What a client has got may still be on its way through the relay's own count.
    await sleep(20);
    const now = await this.#relay.count();
    const passed = { up: now.up - this.#last.up, down: now.down - this.#last.down };
    this.#last = now;
    return passed;
  }

  async #answers(port: number, link: Link | undefined): Promise<boolean> {
    if (link !== undefined) return await link.farAnswers(port);
    return await fetch(`http://127.0.0.1:${port}/v2/`).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#relay[Symbol.asyncDispose]();
    if (this.#server.exitCode === null) {
      const ended = new Promise((resolve) => this.#server.once('exit', resolve));
      this.#server.kill('SIGKILL');
      await ended;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
