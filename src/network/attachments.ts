import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeJson } from './definitions.ts';
import type { Endpoint, PortBinding } from './port.ts';

const formatVersion = 1;

/** An endpoint with what leaving and choosing the default route need beside it. */
export type AttachedEndpoint = Endpoint & {
  gatewayPriority: number;
  /** Com.docker.network.endpoint.* as given. */
  driverOptions?: Record<string, string>;
  /** What CNI plugins were asked for, and answered to ADD: DEL is given both again. */
  cni?: { ips: string[]; macAddress: string; result: unknown };
};

/**
 * What a container has on its networks: written before the kernel is asked for any of it, removed after all of it is gone. Lives in the
 * run directory, like the namespaces that it describes, and so ends with them at a reboot.
 */
export type Attachment = {
  containerId: string;
  containerName: string;
  /** Where names that are not of its networks are asked for; the host's servers when empty. */
  dnsServers: string[];
  endpoints: AttachedEndpoint[];
  ports: PortBinding[];
};

/** The attachments of one engine, kept in memory and in one small file each. */
export class Attachments {
  private readonly byContainer = new Map<string, Attachment>();
  /** Containers that are on their way out: their rules and names go before the rest does. */
  private readonly leaving = new Set<string>();
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Call once, before anything else. */
  async load(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.directory)) {
      const path = join(this.directory, name);
      const attachment = name.endsWith('.json') ? decode(await readFile(path, 'utf8')) : undefined;
      // A torn file is from a crash of the machine: what it described went with the kernel.
      if (attachment === undefined) await rm(path, { force: true });
      else this.byContainer.set(attachment.containerId, attachment);
    }
  }

  all(): Attachment[] {
    return [...this.byContainer.values()];
  }

  /** Those whose ports are to be open and whose names are to be known. */
  present(): Attachment[] {
    return this.all().filter(({ containerId }) => !this.leaving.has(containerId));
  }

  get(containerId: string): Attachment | undefined {
    return this.byContainer.get(containerId);
  }

  /** From here on `present` leaves it out. */
  leave(containerId: string): void {
    if (this.byContainer.has(containerId)) this.leaving.add(containerId);
  }

  /** Those on a network. */
  on(networkId: string): Attachment[] {
    return this.all().filter(({ endpoints }) => endpoints.some((endpoint) => endpoint.networkId === networkId));
  }

  /** `container web` when one on a bridge has published the port on that address, or either is every address. */
  publisherOf(hostIp: string, hostPort: number, protocol: 'tcp' | 'udp'): string | undefined {
    const found = this.all().find(({ ports }) =>
      ports.some((port) => meets(port.hostIp, hostIp) && port.hostPort === hostPort && port.protocol === protocol),
    );
    return found === undefined ? undefined : `container ${found.containerName}`;
  }

  /** In memory at once, so that the next allocation sees its addresses; the file when the promise resolves. */
  async put(attachment: Attachment): Promise<void> {
    const before = this.byContainer.get(attachment.containerId);
    this.byContainer.set(attachment.containerId, attachment);
    try {
      await writeJson(this.pathOf(attachment.containerId), { version: formatVersion, ...attachment }, { sync: false });
    } catch (error) {
      if (before === undefined) this.byContainer.delete(attachment.containerId);
      else this.byContainer.set(attachment.containerId, before);
      throw error;
    }
  }

  async delete(containerId: string): Promise<void> {
    await rm(this.pathOf(containerId), { force: true });
    this.byContainer.delete(containerId);
    this.leaving.delete(containerId);
  }

  private pathOf(containerId: string): string {
    return join(this.directory, `${containerId}.json`);
  }
}

/** As the port gives it out. */
export function toEndpoint({ gatewayPriority: _, driverOptions: _options, cni: _cni, ...endpoint }: AttachedEndpoint): Endpoint {
  return structuredClone(endpoint);
}

function meets(a: string, b: string): boolean {
  const families = (ip: string) => (ip === '' ? [4, 6] : [ip.includes(':') ? 6 : 4]);
  const any = (ip: string) => ['', '0.0.0.0', '::'].includes(ip);
  return families(a).some((family) => families(b).includes(family)) && (a === b || any(a) || any(b));
}

function decode(text: string): Attachment | undefined {
  try {
    const { version, ...attachment } = JSON.parse(text) as Attachment & { version: number };
    const whole = Array.isArray(attachment.endpoints) && Array.isArray(attachment.ports) && Array.isArray(attachment.dnsServers);
    return version === formatVersion && whole ? attachment : undefined;
  } catch {
    return undefined;
  }
}
