import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../base/errors.ts';
import { type Bridge, writeJson } from './definitions.ts';
import { contains, formatIpv4, formatSubnet, type Ipv4, lastOf, parseIpv4 } from './ipv4.ts';
import type { Endpoint, PortBinding } from './port.ts';

const formatVersion = 1;

/**
 * What a container has on its networks: written before the kernel is asked for any of it, removed after all of it is gone. Lives in the
 * run directory, like the namespaces that it describes, and so ends with them at a reboot.
 */
export type Attachment = {
  containerId: string;
  containerName: string;
  endpoints: Endpoint[];
  ports: PortBinding[];
};

/** The attachments of one engine and, derived from them, which addresses are in use. */
export class Attachments {
  private readonly byContainer = new Map<string, Attachment>();
  /** By network id: where the search for a free address goes on. Addresses come back late, when peers' ARP entries have aged. */
  private readonly nextAddress = new Map<string, Ipv4>();
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

  get(containerId: string): Attachment | undefined {
    return this.byContainer.get(containerId);
  }

  /** Ids of the containers on a network. */
  on(networkId: string): string[] {
    return this.all()
      .filter(({ endpoints }) => endpoints.some((endpoint) => endpoint.networkId === networkId))
      .map(({ containerId }) => containerId);
  }

  /** `container web` when one on a bridge has published the port on that address, or either is every address. */
  publisherOf(hostIp: string, hostPort: number, protocol: 'tcp' | 'udp'): string | undefined {
    const any = (ip: string) => ip === '' || ip === '0.0.0.0';
    const found = this.all().find(({ ports }) =>
      ports.some((port) => {
        const meets = port.hostIp === hostIp || any(port.hostIp) || any(hostIp);
        return meets && port.hostPort === hostPort && port.protocol === protocol;
      }),
    );
    return found === undefined ? undefined : `container ${found.containerName}`;
  }

  /** In memory at once, so that the next allocation sees its addresses; the file when the promise resolves. */
  async put(attachment: Attachment): Promise<void> {
    this.byContainer.set(attachment.containerId, attachment);
    try {
      await writeJson(this.pathOf(attachment.containerId), { version: formatVersion, ...attachment }, { sync: false });
    } catch (error) {
      this.byContainer.delete(attachment.containerId);
      throw error;
    }
  }

  async delete(containerId: string): Promise<void> {
    await rm(this.pathOf(containerId), { force: true });
    this.byContainer.delete(containerId);
  }

  /**
   * A free address of the network, or the wanted one. It is taken when `put` is called, in the same turn of the event loop. InvalidArgument
   * `ADDRESS_INVALID`; Conflict `ADDRESS_IN_USE`, `NO_FREE_ADDRESS`.
   */
  allocate(bridge: Bridge, wanted: string | undefined): string {
    const networkId = bridge.definition.id;
    const used = new Map<Ipv4, string>();
    for (const { containerName, endpoints } of this.all()) {
      for (const endpoint of endpoints) {
        const address = endpoint.networkId === networkId ? parseIpv4(endpoint.ipAddress) : undefined;
        if (address !== undefined) used.set(address, containerName);
      }
    }
    const gateway = parseIpv4(bridge.gateway);
    const [low, high] = [bridge.subnet.first + 1, lastOf(bridge.subnet) - 1];
    if (wanted !== undefined) return checkWanted(wanted, bridge, used);
    const start = this.nextAddress.get(networkId) ?? Math.max(low, ...[...used.keys()].map((address) => address + 1));
    for (let i = 0; i <= high - low; i++) {
      const address = low + ((((start - low + i) % (high - low + 1)) + (high - low + 1)) % (high - low + 1));
      if (address === gateway || used.has(address)) continue;
      this.nextAddress.set(networkId, address + 1);
      return formatIpv4(address);
    }
    throw new EngineError(
      'Conflict',
      'NO_FREE_ADDRESS',
      `network ${bridge.definition.name} has no free address in ${formatSubnet(bridge.subnet)}`,
      {
        hint: 'Remove containers, or make a network with a larger subnet.',
      },
    );
  }

  private pathOf(containerId: string): string {
    return join(this.directory, `${containerId}.json`);
  }
}

function checkWanted(wanted: string, { definition, subnet, gateway }: Bridge, used: ReadonlyMap<Ipv4, string>): string {
  const address = parseIpv4(wanted);
  if (address === undefined || !contains(subnet, address) || address === subnet.first || address === lastOf(subnet)) {
    const message = `invalid address ${JSON.stringify(wanted.slice(0, 60))}: it is not a host address in ${formatSubnet(subnet)} of network ${definition.name}`;
    throw new EngineError('InvalidArgument', 'ADDRESS_INVALID', message);
  }
  if (definition.name === 'bridge') {
    const message = 'a fixed IP address is supported on user-defined networks only';
    throw new EngineError('InvalidArgument', 'ADDRESS_INVALID', message, {
      hint: 'Create one: slipway network create --subnet 10.89.0.0/24 NAME, then run with --network NAME --ip ADDRESS.',
    });
  }
  const holder = wanted === gateway ? 'the gateway' : used.get(address);
  if (holder !== undefined) {
    throw new EngineError('Conflict', 'ADDRESS_IN_USE', `address ${wanted} on network ${definition.name} is already in use by ${holder}`);
  }
  return wanted;
}

function decode(text: string): Attachment | undefined {
  try {
    const { version, ...attachment } = JSON.parse(text) as Attachment & { version: number };
    if (version !== formatVersion || !Array.isArray(attachment.endpoints) || !Array.isArray(attachment.ports)) return undefined;
    // Those of an older engine say nothing of IPv6 and name their interfaces by their order.
    const older = (i: number) => ({ ipv6Address: '', ipv6PrefixLength: 0, ipv6Gateway: '', interface: `eth${i}` });
    return { ...attachment, endpoints: attachment.endpoints.map((endpoint, i) => ({ ...older(i), ...endpoint })) };
  } catch {
    return undefined;
  }
}
