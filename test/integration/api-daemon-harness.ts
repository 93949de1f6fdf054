import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { type ClientRequest, type RequestOptions, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../src/host/programs.ts';
import { listMounts, unmount } from '../../src/kernel/mount.ts';
import { LocalNetworks } from '../../src/network/local-networks.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { makeBusyboxRoot } from './runtime-support.ts';

const missing = ['runc', 'conmon', 'iptables', 'busybox'].filter((name) => findProgram(name) === undefined);

/** Why these tests cannot run here; false when they can. */
export const cannotRunDaemon: string | false =
  process.getuid?.() !== 0 ? 'needs root' : missing.length > 0 && `needs ${missing.join(', ')}`;

const entry = join(import.meta.dirname, '../../src/daemon/main.ts');

/** A root and a run directory with everything that a daemon may leave in them; `remove` takes all of it off the host. */
export class DaemonPlace {
  readonly folder = mkdtempSync(join(tmpdir(), 'slipway-daemon-'));
  readonly root = join(this.folder, 'root');
  readonly run = join(this.folder, 'run');
  readonly socket = join(this.run, 'slipway.sock');
  /** Part of every name that the host sees. */
  readonly rootId = createHash('sha256').update(this.root).digest('hex').slice(0, 8);
  readonly #daemons: DaemonProcess[] = [];

  /** Starts a daemon here and waits until it is ready, or has ended. */
  async start(...flags: string[]): Promise<DaemonProcess> {
    const daemon = this.spawn(...flags);
    await daemon.ready();
    return daemon;
  }

  spawn(...flags: string[]): DaemonProcess {
    const daemon = new DaemonProcess(['--root', this.root, '--run', this.run, ...flags]);
    this.#daemons.push(daemon);
    return daemon;
  }

  /** A root tar with a static busybox. */
  imageTar(): string {
    const root = join(this.folder, 'image');
    const tar = join(this.folder, 'image.tar');
    if (existsSync(tar)) return tar;
    mkdirSync(root);
    makeBusyboxRoot(root);
    execFileSync('tar', ['-C', root, '-cf', tar, '.']);
    return tar;
  }

  async remove(): Promise<void> {
    const running = this.#daemons.find(({ ended }) => !ended);
    if (running !== undefined) await removeContainers(this.socket).catch(() => undefined);
    for (const daemon of this.#daemons) await daemon.kill();
    await this.#dismantleNetworks();
    for (const { mountPoint } of listMounts().reverse()) {
      if (mountPoint.startsWith(`${this.folder}/`)) unmount(mountPoint, { detach: true });
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #dismantleNetworks(): Promise<void> {
    const options = { directory: join(this.root, 'networks'), runDirectory: this.run, rootId: this.rootId };
    await new LocalNetworks(options).dismantle();
    await new Cgroups().remove(`/slipway-${this.rootId}`);
  }
}

export class DaemonProcess {
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | null>;
  #readyLine = Promise.withResolvers<void>();
  log = '';
  ended = false;

  constructor(flags: readonly string[]) {
    this.#child = spawn(process.execPath, [entry, ...flags], { stdio: ['ignore', 'inherit', 'pipe'] });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
      if (this.log.includes('"msg":"ready"')) this.#readyLine.resolve();
    });
    this.#exit = once(this.#child, 'close').then(([code, signal]) => {
      this.ended = true;
      this.#readyLine.reject(new Error(`the daemon ended with ${code ?? signal}: ${this.log}`));
      return code as number | null;
    });
    this.#readyLine.promise.catch(() => undefined);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  ready(): Promise<void> {
    return this.#readyLine.promise;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The exit status; null when a signal ended it. */
  exit(): Promise<number | null> {
    return this.#exit;
  }

  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    return this.#exit;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
  }
}

export type Answer = { status: number; headers: Record<string, string | string[] | undefined>; text: string };

/** One request over a unix socket. */
export function call(socketPath: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const json = body === undefined ? undefined : JSON.stringify(body);
  const headers = json === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) };
  return send({ socketPath, method, path, headers, agent: false }, (sent) => sent.end(json));
}

/** POSTs a file as a tar. */
export function upload(socketPath: string, path: string, file: string): Promise<Answer> {
  const headers = { 'content-type': 'application/x-tar' };
  return send({ socketPath, method: 'POST', path, headers, agent: false }, (sent) => createReadStream(file).pipe(sent));
}

function send(options: RequestOptions, write: (sent: ClientRequest) => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    write(sent);
  });
}

async function removeContainers(socket: string): Promise<void> {
  const listed = JSON.parse((await call(socket, 'GET', '/containers/json?all=1')).text) as { Id: string }[];
  await Promise.all(listed.map(({ Id }) => call(socket, 'DELETE', `/containers/${Id}?force=1&v=1`)));
}
