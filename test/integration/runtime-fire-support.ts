import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '../../src/host/programs.ts';
import { listMounts, unmount } from '../../src/kernel/mount.ts';
import { killProcess } from '../../src/kernel/process.ts';
import { LocalNetworks } from '../../src/network/local-networks.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { type Answer, call, DaemonPlace, DaemonProcess } from './api-daemon-harness.ts';

const cgroups = new Cgroups();

/** A daemon that is killed again and again, on one root; and a runtime of its own that can be told to fail or to hang. */
export class FirePlace {
  readonly place = new DaemonPlace();
  readonly #flakyMode: string;
  readonly #flaky: string;
  run: string;
  daemon: DaemonProcess | undefined;
  #boots = 0;

  constructor() {
    const { folder } = this.place;
    this.run = join(folder, 'run');
    this.#flakyMode = join(folder, 'flaky-mode');
    this.#flaky = join(folder, 'flaky');
    const script = `#!/bin/sh
case " $* " in *" create "*)
  case "$(cat ${this.#flakyMode})" in
    fail) echo "flaky: no" >&2; exit 1;;
    hang) tail -f ${this.#flakyMode};;
  esac;;
esac
exec ${findProgram('runc')} "$@"
`;
    writeFileSync(this.#flaky, script);
    chmodSync(this.#flaky, 0o755);
    this.flaky('works');
  }

  flaky(mode: 'works' | 'fail' | 'hang'): void {
    writeFileSync(this.#flakyMode, mode);
  }

  get socket(): string {
    return join(this.run, 'slipway.sock');
  }

  get folder(): string {
    return this.place.folder;
  }

  async start(): Promise<void> {
    mkdirSync(this.run, { recursive: true });
    this.daemon = new DaemonProcess(['--root', this.place.root, '--run', this.run, '--runtime', `flaky=${this.#flaky}`]);
    await this.daemon.ready();
  }

  async kill(): Promise<void> {
    await this.daemon?.kill();
  }

  /** What a host loses when it is started anew: processes, mounts, namespaces, bridges, rules, groups and all that was in the run directory. */
  async reboot(): Promise<void> {
    await this.kill();
    const groups = await cgroups.list(this.#cgroup);
    for (const pid of processesOf(this.folder)) killProcess(pid, 9);
    for (const name of groups) await cgroups.remove(`${this.#cgroup}/${name}`);
    await this.#dismantle();
    rmSync(this.run, { recursive: true, force: true });
    this.run = join(this.folder, `run-${++this.#boots}`);
  }

  async remove(): Promise<void> {
    await this.kill();
    for (const pid of processesOf(this.folder)) killProcess(pid, 9);
    try {
      for (const name of await cgroups.list(this.#cgroup)) await cgroups.remove(`${this.#cgroup}/${name}`);
    } finally {
      await this.#dismantle();
      await this.place.remove();
    }
  }

  get #cgroup(): string {
    return `/slipway-${this.place.rootId}`;
  }

  async #dismantle(): Promise<void> {
    const { root, rootId } = this.place;
    await new LocalNetworks({ directory: join(root, 'networks'), runDirectory: this.run, rootId }).dismantle();
    for (const { mountPoint } of listMounts().reverse()) if (mountPoint.startsWith(`${this.run}/`)) unmount(mountPoint, { detach: true });
  }

  /** Everything that is there because of a container, though none is: each with what and where. */
  async leftovers(ports: Iterable<number>): Promise<string[]> {
    const { root, rootId } = this.place;
    const names = (folder: string) => (existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []);
    const isContainer = (path: string) => /\/[0-9a-f]{64}$/.test(path);
    const runtimes = names(join(this.run, 'runtime')).flatMap(names).filter(isContainer);
    const folders = [
      ...['containers', 'snapshots'].flatMap((name) => names(join(root, name))),
      ...['c', 'exec', 'netns', 'netavark/attachments'].flatMap((name) => names(join(this.run, name))),
    ];
    return [
      ...[...folders, ...runtimes].map((path) => `file ${path}`),
      ...listMounts()
        .filter(({ mountPoint }) => mountPoint.startsWith(`${this.folder}/`))
        .map(({ mountPoint }) => `mount ${mountPoint}`),
      ...(await cgroups.list(this.#cgroup)).map((name) => `control group ${name}`),
      ...processesOf(this.folder).map((pid) => `process ${pid}: ${commandLine(pid)}`),
      ...readdirSync('/sys/class/net')
        .filter((name) => name.includes(rootId))
        .map((name) => `interface ${name}`),
      ...execFileSync(findProgram('iptables-save') ?? '', { encoding: 'utf8' })
        .split('\n')
        .filter((line) => line.includes(rootId))
        .map((line) => `rule ${line}`),
      ...[...ports].filter(isListening).map((port) => `port ${port}`),
    ];
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

function environment(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    return '';
  }
}

/** Daemons' helpers by their arguments, containers' processes by a variable that they all have. */
function processesOf(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid)
    .filter((pid) => commandLine(pid).includes(folder) || environment(pid).includes(`FIRE=${folder}`));
}

/** In either family, by /proc/net/tcp. */
function isListening(port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return ['tcp', 'tcp6'].some((name) =>
    new RegExp(`^\\s*\\d+: \\w+:${hex} \\w+:0000 0A`, 'm').test(readFileSync(`/proc/net/${name}`, 'latin1')),
  );
}

export type Inspected = {
  Id: string;
  State: { Status: string; Pid: number; ExitCode: number; Error: string; Running: boolean };
};

/** Undefined when there is none. */
export async function inspect(socket: string, name: string): Promise<Inspected | undefined> {
  const answer = await call(socket, 'GET', `/containers/${name}/json`);
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw new Error(`inspect ${name}: ${answer.status} ${answer.text}`);
  return JSON.parse(answer.text) as Inspected;
}

/** Answers of a daemon that may be killed at any moment: undefined then. */
export async function tryCall(socket: string, method: string, path: string, body?: unknown): Promise<Answer | undefined> {
  try {
    return await call(socket, method, path, body);
  } catch {
    return undefined;
  }
}

export async function settle(look: () => Promise<string | undefined>, timeoutMs: number): Promise<string | undefined> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const wrong = await look();
    if (wrong === undefined || Date.now() > deadline) return wrong;
    await sleep(50);
  }
}
