import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { answers, type BenchEngine, runParent, sleep, unmountBelow } from './engine.ts';
import { inNamespace } from './namespace.ts';

const run = promisify(execFile);

/** Debian's client, also when another one comes first on PATH. */
export const dockerClient = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';

const dockerServer = existsSync('/usr/sbin/dockerd') ? '/usr/sbin/dockerd' : 'dockerd';

/**
 * Docker to measure beside: one that runs (`unix:///…`), or, for `start`, Debian's dockerd on directories of its own and in a network namespace of its own, so
 * that neither its bridge nor its rules meet another one's.
 */
export class BenchDocker implements AsyncDisposable {
  readonly host: string;
  readonly #directory: string | undefined;
  readonly #daemon: ChildProcess | undefined;

  private constructor(host: string, directory?: string, daemon?: ChildProcess) {
    this.host = host;
    this.#directory = directory;
    this.#daemon = daemon;
  }

  /** Undefined when none is asked for. */
  static async open(asked: string | undefined): Promise<BenchDocker | undefined> {
    if (asked === undefined) return undefined;
    return asked === 'start' ? await BenchDocker.start() : new BenchDocker(asked);
  }

  /** `namespaceOf`: a process whose network namespace it shares (this one's pid for the host's); it then makes no bridge and no rules. */
  static async start(place: { namespaceOf?: number | undefined } = {}): Promise<BenchDocker> {
    const directory = mkdtempSync(join(tmpdir(), 'slipway-bench-docker-'));
    const socket = join(directory, 'docker.sock');
    const log = openSync(join(directory, 'log'), 'a');
    const options = [
      '--data-root',
      join(directory, 'data'),
      '--exec-root',
      execRoot(directory),
      '--pidfile',
      join(directory, 'pid'),
      '-H',
      `unix://${socket}`,
    ];
    const own = ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec dockerd "$@"', 'sh', ...options];
    const shared = [dockerServer, ...options, '--bridge=none', '--iptables=false', '--ip6tables=false'];
    const [command = '', ...words] = place.namespaceOf === undefined ? own : inNamespace(place.namespaceOf, ...shared);
    const daemon = spawn(command, words, { stdio: ['ignore', log, log] });
    const docker = new BenchDocker(`unix://${socket}`, directory, daemon);
    const end = performance.now() + 60_000;
    while (!(await answers(socket))) {
      if (performance.now() > end || daemon.exitCode !== null)
        throw new Error(`dockerd did not start:\n${readFileSync(join(directory, 'log'), 'utf8').slice(-2_000)}`);
      await sleep(100);
    }
    return docker;
  }

  async cli(...words: string[]): Promise<string> {
    const { stdout } = await run(dockerClient, ['-H', this.host, ...words], {
      env: { ...process.env, DOCKER_BUILDKIT: '1' },
      maxBuffer: 64 << 20,
    });
    return stdout.trim();
  }

  /** Brings an image over from the engine that is measured. */
  async take(engine: BenchEngine, image: string): Promise<void> {
    const archive = join(engine.directory, 'image.tar');
    await engine.cli('save', '-o', archive, image);
    await this.cli('load', '-i', archive);
    rmSync(archive);
  }

  /** Processes of this Docker: the daemon, its containerd, a shim a container. Of one that was given, all such processes of the host. */
  processes(): { daemons: number[]; shims: number[] } {
    const lines = execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' }).split('\n');
    const own = lines.filter((line) => this.#directory === undefined || line.includes(basename(this.#directory)));
    const pids = (pattern: RegExp) => own.filter((line) => pattern.test(line)).map((line) => Number.parseInt(line, 10));
    return { daemons: pids(/^\s*\d+ (\S*\/)?(dockerd|containerd) /), shims: pids(/containerd-shim/) };
  }

  async removeContainers(): Promise<void> {
    const ids = (await this.cli('ps', '-aq')).split('\n').filter(Boolean);
    for (let at = 0; at < ids.length; at += 100) await this.cli('rm', '-f', '-v', ...ids.slice(at, at + 100));
  }

  /** Leaves one that was given as it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    const [daemon, directory] = [this.#daemon, this.#directory];
    if (daemon === undefined || directory === undefined) return;
    await this.removeContainers().catch(() => undefined);
    const ended = new Promise((resolve) => daemon.once('exit', resolve));
    daemon.kill('SIGTERM');
    await ended;
    for (const path of [execRoot(directory), directory]) {
      await unmountBelow(path);
      rmSync(path, { recursive: true, force: true });
    }
  }
}

function execRoot(directory: string): string {
  return join(runParent(), basename(directory));
}
