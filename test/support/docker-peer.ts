import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { listMounts, unmount } from '../../src/kernel/mount.ts';

const run = promisify(execFile);
const fetched = join(import.meta.dirname, '../../.clients');

function programOf(installed: string, name: string): string {
  return existsSync(installed) ? installed : join(fetched, name);
}

const server = programOf('/usr/sbin/dockerd', 'dockerd-20/dockerd');
const client = programOf('/usr/bin/docker', 'docker-20/docker');

/** Why Debian's Docker cannot run here; false when it can. */
export const cannotRunDocker: string | false =
  process.getuid?.() !== 0
    ? 'needs root'
    : !(existsSync(server) && existsSync(client)) &&
      'needs Debian 12\'s dockerd: run "sh scripts/setup.sh test" where a Debian mirror can be reached';

/** Debian's dockerd 20.10 on folders of its own, without a bridge or rules; what it pulls can be looked at as files. */
export class DockerPeer implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'slipway-docker-'));
  readonly #socket = join(this.folder, 'docker.sock');
  #daemon: ChildProcess | undefined;
  #views = 0;

  async start(): Promise<this> {
    const log = openSync(join(this.folder, 'log'), 'a');
    const options = [
      '--data-root',
      join(this.folder, 'data'),
      '--exec-root',
      join(this.folder, 'exec'),
      '--pidfile',
      join(this.folder, 'pid'),
    ];
    const path = [join(fetched, 'containerd-1'), join(fetched, 'containerd-shim-1'), '/usr/sbin', process.env.PATH].join(':');
    this.#daemon = spawn(server, [...options, '-H', `unix://${this.#socket}`, '--bridge=none', '--iptables=false', '--ip6tables=false'], {
      stdio: ['ignore', log, log],
      env: { ...process.env, PATH: path },
    });
    closeSync(log);
    for (const until = Date.now() + 30_000; !(await this.#answers()); await sleep(50)) {
      if (Date.now() > until || this.#daemon.exitCode !== null)
        throw new Error(`dockerd did not start:\n${readFileSync(join(this.folder, 'log'), 'utf8').slice(-3000)}`);
    }
    return this;
  }

  async #answers(): Promise<boolean> {
    return await this.cli('version').then(
      () => true,
      () => false,
    );
  }

  async cli(...words: string[]): Promise<string> {
    const { stdout } = await run(client, ['-H', `unix://${this.#socket}`, ...words], { env: { ...process.env, DOCKER_BUILDKIT: '0' } });
    return stdout.trim();
  }

  /** The files of an image, as Docker's own storage driver put them there: a folder until the end. */
  async filesOf(image: string): Promise<string> {
    const [found] = JSON.parse(await this.cli('image', 'inspect', image)) as [
      { GraphDriver: { Name: string; Data: Record<string, string> } },
    ];
    const { Name, Data } = found.GraphDriver;
    if (Name !== 'overlay2') throw new Error(`dockerd chose the storage driver ${Name}`);
    const { UpperDir = '', LowerDir } = Data;
    if (LowerDir === undefined) return UpperDir;
    const view = join(this.folder, `view-${this.#views++}`);
    mkdirSync(view);
    await run('mount', ['-t', 'overlay', '-o', `ro,lowerdir=${[UpperDir, LowerDir].join(':')}`, 'overlay', view]);
    return view;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const daemon = this.#daemon;
    if (daemon !== undefined && daemon.exitCode === null && daemon.signalCode === null) {
      const exit = once(daemon, 'exit');
      daemon.kill('SIGTERM');
      const ended = await Promise.race([exit.then(() => true), sleep(15_000, false, { ref: false })]);
      if (!ended) {
        daemon.kill('SIGKILL');
        await exit;
      }
    }
    for (const { mountPoint } of listMounts().reverse()) {
      if (mountPoint.startsWith(`${this.folder}/`)) unmount(mountPoint, { detach: true });
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
