import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';
import { killProcess } from '../kernel/process.ts';
import { runCommand } from './command.ts';
import { Coalesced } from './locks.ts';

/** A network whose containers know each other by name. */
export type DnsZone = {
  networkId: string;
  /** Where its containers ask: addresses of this host. */
  servers: readonly string[];
  containers: readonly DnsEntry[];
  /** Names that are not of its containers are not asked for outside. */
  closed: boolean;
};
export type DnsEntry = { containerId: string; ipv4: string; ipv6: string; names: readonly string[]; dnsServers: readonly string[] };

type Options = {
  /** Undefined: networks have no DNS. */
  aardvarkPath: string | undefined;
  /** aardvark-dns takes every file in it for a network. */
  directory: string;
  /** What is to be served, at the time of asking. */
  zones: () => readonly DnsZone[];
  log: (message: string) => void;
};

const SIGHUP = 1;
const SIGTERM = 15;
const pidFile = 'aardvark.pid';

/**
 * Names on user-defined networks: writes what aardvark-dns serves, one file a network, and keeps that program running while there is anything
 * to serve. It outlives the engine. Calls that come side by side share one reload.
 */
export class Dns {
  private readonly options: Options;
  private readonly passes = new Coalesced(() => this.pass());
  /** By file name. Undefined: this process has not looked yet. */
  private written: Map<string, string> | undefined;

  constructor(options: Options) {
    this.options = options;
  }

  get isAvailable(): boolean {
    return this.options.aardvarkPath !== undefined;
  }

  /** Resolves when what is served is as the state was at this call, or later. */
  async sync(): Promise<void> {
    if (this.isAvailable) await this.passes.run();
  }

  /** As `sync`, and looks whether the program still runs. */
  async verify(): Promise<void> {
    this.written = undefined;
    await this.sync();
  }

  private async pass(): Promise<void> {
    const { directory, zones } = this.options;
    const wanted = new Map(zones().map((zone) => [fileName(zone), encodeZone(zone)]));
    const before = this.written ?? (await this.read());
    const changed =
      this.written === undefined || before.size !== wanted.size || [...wanted].some(([name, text]) => before.get(name) !== text);
    if (!changed) return;
    this.written = undefined;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const [name, text] of wanted) if (before.get(name) !== text) await this.write(name, text);
    for (const name of before.keys()) if (!wanted.has(name)) await rm(join(directory, name), { force: true });
    await this.tell(wanted.size > 0);
    this.written = wanted;
  }

  private async read(): Promise<Map<string, string>> {
    const { directory } = this.options;
    const names = (await readdir(directory).catch(absent([]))).filter((name) => name !== pidFile);
    return new Map(
      await Promise.all(names.map(async (name): Promise<[string, string]> => [name, await readFile(join(directory, name), 'utf8')])),
    );
  }

  /** Written beside the folder, so that no half a file is ever in it. */
  private async write(name: string, text: string): Promise<void> {
    const { directory } = this.options;
    const temporary = `${directory}.${name}.tmp`;
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, join(directory, name));
  }

  private async tell(hasNames: boolean): Promise<void> {
    const { directory } = this.options;
    const pid = await this.runningPid();
    if (!hasNames) {
      if (pid !== undefined) killProcess(pid, SIGTERM);
      await rm(join(directory, pidFile), { force: true });
    } else if (pid === undefined || !killProcess(pid, SIGHUP)) await this.start();
  }

  private async start(): Promise<void> {
    const { aardvarkPath = '', directory, log } = this.options;
    await rm(join(directory, pidFile), { force: true });
    const { stderr } = await runCommand(aardvarkPath, ['--config', directory, '-p', '53', 'run'], { debianPackage: 'aardvark-dns' });
    if ((await this.runningPid()) === undefined) {
      log(
        `aardvark-dns does not run, so containers do not find each other by name: ${stderr.trim().slice(0, 300) || 'is port 53 of all addresses taken?'}`,
      );
    }
  }

  /** The pid file may be left from a killed one, and its number another program's by now. */
  private async runningPid(): Promise<number | undefined> {
    const { directory } = this.options;
    const text = (await readFile(join(directory, pidFile), 'utf8').catch(absent(''))).trim();
    if (!/^\d+$/.test(text)) return undefined;
    const command = await readFile(`/proc/${text}/cmdline`, 'utf8').catch(absent(''));
    return command.includes('aardvark-dns') && command.split('\0').includes(directory) ? Number(text) : undefined;
  }
}

/** aardvark-dns from 1.6 takes the suffix for a network that asks nobody outside. */
function fileName({ networkId, closed }: DnsZone): string {
  return `${networkId.slice(0, 12)}${closed ? '%int' : ''}`;
}

/**
 * aardvark-dns's format: a line of addresses to listen on, then `id IPv4 IPv6 names [servers]` for each container. Before 1.6 a network that asks
 * nobody outside is one whose containers' server is where the kernel lets nobody send to: their questions end in a time-out.
 */
function encodeZone({ servers, containers, closed }: DnsZone): string {
  const lines = containers.map(({ containerId, ipv4, ipv6, names, dnsServers }) => {
    const upstream = closed ? ['255.255.255.255'] : dnsServers;
    return [containerId, ipv4, ipv6, names.join(','), ...(upstream.length > 0 ? [upstream.join(',')] : [])].join(' ');
  });
  return `${[servers.join(','), ...lines].join('\n')}\n`;
}

function absent<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return instead;
    throw error;
  };
}
