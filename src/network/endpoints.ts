import { randomBytes } from 'node:crypto';
import { EngineError, toErrorData } from '../base/errors.ts';
import type { Attachment, Attachments } from './attachments.ts';
import type { Bridges } from './bridges.ts';
import { type Bridge, bridgeOf, type Definition, type Definitions } from './definitions.ts';
import type { Dns } from './dns.ts';
import type { Firewall, Published } from './firewall.ts';
import { macFor, parseIpv4, parseMac } from './ipv4.ts';
import { allowHairpin, raiseLoopback } from './links.ts';
import { SharedLock } from './locks.ts';
import type { Namespaces } from './namespaces.ts';
import type { Netavark, NetavarkRequest } from './netavark.ts';
import type { Endpoint, EndpointConfig, PortBinding } from './port.ts';

export type EndpointsOptions = {
  definitions: Definitions;
  attachments: Attachments;
  namespaces: Namespaces;
  firewall: Firewall;
  bridges: Bridges;
  netavark: Netavark;
  dns: Dns;
  log: (message: string) => void;
};

/** netavark processes at a time: beyond the processors, more only wait for each other on the kernel's network lock. */
const parallelCalls = 4;

/** Containers joining and leaving networks. */
export class Endpoints {
  private readonly options: EndpointsOptions;
  private readonly netavarkLock = new SharedLock(parallelCalls);
  /** Networks that netavark has set up once in this process's life: it looks for a rule and then adds it, and two first calls would race. */
  private readonly warm = new Set<string>();

  constructor(options: EndpointsOptions) {
    this.options = options;
  }

  /** As `Networks.attach`. Conflict `ALREADY_ATTACHED`. */
  async attach(
    containerId: string,
    configs: readonly EndpointConfig[],
    ports: readonly PortBinding[],
    containerName: string,
  ): Promise<{ netns: string; endpoints: Endpoint[] }> {
    const { attachments, bridges } = this.options;
    const definitions = this.resolve(configs);
    checkContainerId(containerId);
    if (definitions.some(({ name }) => name === 'host')) return { netns: '', endpoints: definitions.map(emptyEndpoint) };
    const joined: Bridge[] = [];
    for (const definition of definitions) if (bridgeOf(definition) !== undefined) joined.push(await bridges.ensure(definition));
    // From choosing addresses to `put` nothing is awaited, so nobody else is given them.
    if (attachments.get(containerId) !== undefined) {
      throw new EngineError('Conflict', 'ALREADY_ATTACHED', `container ${containerId.slice(0, 12)} is attached to its networks already`);
    }
    const endpoints =
      joined.length === 0
        ? definitions.map(emptyEndpoint)
        : joined.map((bridge, i) => this.makeEndpoint(containerId, bridge, configs[i] ?? { name: bridge.definition.name }, `eth${i}`));
    const attachment: Attachment = { containerId, containerName, endpoints, ports: [...ports] };
    const recorded = attachments.put(attachment);
    try {
      await recorded;
      const netns = await this.build(attachment, joined);
      return { netns, endpoints };
    } catch (error) {
      await this.detach(containerId).catch((undoError: unknown) => {
        this.options.log(`could not undo a failed attach of ${containerId.slice(0, 12)}: ${toErrorData(undoError).message}`);
      });
      throw error;
    }
  }

  /** As `Networks.openNamespace`. */
  async openNamespace(containerId: string): Promise<string> {
    const { namespaces } = this.options;
    checkContainerId(containerId);
    if (namespaces.isLive(containerId)) return namespaces.pathOf(containerId);
    const netns = await namespaces.create(containerId);
    await raiseLoopback(netns);
    return netns;
  }

  /** As `Networks.connect`. Conflict `ALREADY_CONNECTED`. */
  async connect(containerId: string, config: EndpointConfig, containerName: string): Promise<Endpoint> {
    const { attachments, bridges } = this.options;
    const [definition] = this.resolve([config]);
    const before = attachments.get(containerId);
    if (definition === undefined || definition.driver !== 'bridge') {
      throw new EngineError('Denied', 'NETWORKS_EXCLUSIVE', `a container cannot be connected to network ${config.name} beside others`);
    }
    const bridge = await bridges.ensure(definition);
    const current = attachments.get(containerId) ?? before ?? { containerId, containerName, endpoints: [], ports: [] };
    if (current.endpoints.some(({ networkId }) => networkId === definition.id)) {
      throw new EngineError(
        'Denied',
        'ALREADY_CONNECTED',
        `endpoint with name ${containerName} already exists in network ${definition.name}`,
      );
    }
    const taken = new Set(current.endpoints.map((endpoint) => endpoint.interface));
    let number = 0;
    while (taken.has(`eth${number}`)) number++;
    const endpoint = this.makeEndpoint(containerId, bridge, config, `eth${number}`);
    await attachments.put({ ...current, endpoints: [...current.endpoints, endpoint] });
    try {
      await this.build({ ...current, endpoints: [endpoint], ports: [] }, [bridge]);
      return endpoint;
    } catch (error) {
      await this.disconnect(containerId, definition.name).catch((undoError: unknown) => {
        this.options.log(`could not undo a failed connect of ${containerId.slice(0, 12)}: ${toErrorData(undoError).message}`);
      });
      throw error;
    }
  }

  /** As `Networks.disconnect`. */
  async disconnect(containerId: string, network: string): Promise<void> {
    const { attachments, definitions } = this.options;
    const { id } = definitions.find(network);
    const attachment = attachments.get(containerId);
    const endpoint = attachment?.endpoints.find(({ networkId }) => networkId === id);
    if (attachment === undefined || endpoint === undefined) return;
    await this.leave({ ...attachment, endpoints: [endpoint], ports: [] });
    const current = attachments.get(containerId);
    if (current !== undefined) await attachments.put({ ...current, endpoints: current.endpoints.filter((other) => other !== endpoint) });
  }

  /** As `Networks.detach`. What fails is tried again by the next call: the record goes last. */
  async detach(containerId: string): Promise<void> {
    const { attachments, namespaces, firewall } = this.options;
    checkContainerId(containerId);
    const attachment = attachments.get(containerId);
    if (attachment !== undefined) {
      const published = this.publishedBy(attachment);
      await Promise.all([published && firewall.withdraw(published), this.leave(attachment)]);
    }
    await namespaces.remove(containerId);
    await attachments.delete(containerId);
  }

  /** Takes a network's bridge off the host. True when there was one. */
  async retire(bridge: Bridge): Promise<boolean> {
    let existed = false;
    await this.options.bridges.retire(bridge, async (_, dropAnchor) => {
      existed = true;
      await this.netavarkLock.run('exclusive', () => this.disband(bridge, dropAnchor));
    });
    this.warm.delete(bridge.definition.id);
    return existed;
  }

  reviveDns(): Promise<boolean> {
    return this.options.dns.revive();
  }

  /** Ports lead to the address on the first network that the outside can reach. */
  publishedBy(attachment: Attachment): Published | undefined {
    return publishedBy(attachment, this.options.definitions.all());
  }

  private resolve(configs: readonly EndpointConfig[]): Definition[] {
    const definitions = configs.map(({ name }) => this.options.definitions.find(name));
    const alone = definitions.find(({ driver }) => driver !== 'bridge');
    if (alone !== undefined && definitions.length > 1) {
      throw new EngineError('InvalidArgument', 'NETWORKS_EXCLUSIVE', `network ${alone.name} cannot be joined together with another`);
    }
    const twice = definitions.find((definition, i) => definitions.indexOf(definition) !== i);
    if (twice === undefined) return definitions;
    throw new EngineError('InvalidArgument', 'NETWORK_TWICE', `network ${twice.name} is given twice`);
  }

  private makeEndpoint(containerId: string, bridge: Bridge, config: EndpointConfig, interfaceName: string): Endpoint {
    const { definition } = bridge;
    const dns = this.hasDns(definition);
    const ipAddress = this.options.attachments.allocate(bridge, config.ipv4);
    return {
      network: definition.name,
      networkId: definition.id,
      endpointId: randomBytes(32).toString('hex'),
      ipAddress,
      prefixLength: bridge.subnet.prefixLength,
      gateway: bridge.gateway,
      ipv6Address: '',
      ipv6PrefixLength: 0,
      ipv6Gateway: '',
      interface: interfaceName,
      macAddress: config.macAddress ? parseMac(config.macAddress) : macFor(parseIpv4(ipAddress) ?? 0),
      aliases: [...new Set([...(config.aliases ?? []), ...(dns ? [containerId.slice(0, 12)] : [])])],
      dnsServers: dns ? [bridge.gateway] : [],
    };
  }

  /** Containers on the default network do not find each other by name, as with Docker. */
  private hasDns(definition: Definition): boolean {
    return this.options.netavark.hasDns && definition.name !== 'bridge';
  }

  private async build(attachment: Attachment, joined: readonly Bridge[]): Promise<string> {
    const { netavark, firewall } = this.options;
    const netns = await this.openNamespace(attachment.containerId);
    if (joined.length === 0) return netns;
    const request = await this.requestFor(attachment);
    const cold = joined.some(({ definition }) => !this.warm.has(definition.id));
    const published = this.publishedBy(attachment);
    // Settled, not all: when one fails, the undoing must not start beside the other.
    const results = await Promise.allSettled([
      this.netavarkLock.run(cold ? 'exclusive' : 'shared', () => netavark.setup(netns, request)),
      published && firewall.publish(published),
    ]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    for (const { definition } of joined) this.warm.add(definition.id);
    if (published !== undefined) await Promise.all(joined.map(({ name }) => allowHairpin(name)));
    return netns;
  }

  private async leave(attachment: Attachment): Promise<void> {
    const { namespaces, netavark, log } = this.options;
    const request = await this.requestFor(attachment);
    if (request.interfaces.length === 0) return;
    const live = namespaces.isLive(attachment.containerId);
    // With the namespace its links and addresses went; names in the DNS did not, and netavark takes them back only inside a namespace.
    if (!live && !request.interfaces.some(({ dns }) => dns)) return;
    const netns = live ? namespaces.pathOf(attachment.containerId) : await namespaces.create(attachment.containerId);
    try {
      await this.netavarkLock.run('shared', () => netavark.teardown(netns, request));
    } catch (error) {
      // Nothing is lost by going on: the end of the namespace ends the links. Half an attachment always fails here.
      if (live) log(`clean-up of ${attachment.containerId.slice(0, 12)} goes on without netavark: ${toErrorData(error).message}`);
    }
  }

  /** netavark removes what it made for a network with the last container's leaving: so one joins, and leaves as the last. */
  private async disband(bridge: Bridge, dropAnchor: () => Promise<void>): Promise<void> {
    const { namespaces, netavark, log } = this.options;
    const containerId = `retire-${bridge.definition.id.slice(0, 12)}`;
    const endpoint = this.makeEndpoint(containerId, bridge, { name: bridge.definition.name }, 'eth0');
    const attachment: Attachment = { containerId, containerName: containerId, endpoints: [endpoint], ports: [] };
    const request: NetavarkRequest = {
      containerId,
      containerName: containerId,
      interfaces: [this.interfaceFor(attachment, 0, bridge, undefined)],
    };
    try {
      const netns = await namespaces.create(containerId);
      await netavark.setup(netns, request);
      await dropAnchor();
      await netavark.teardown(netns, request);
    } catch (error) {
      log(`some rules of network ${bridge.definition.name} may stay: ${toErrorData(error).message}`);
    } finally {
      await namespaces.remove(containerId);
    }
  }

  private async requestFor(attachment: Attachment): Promise<NetavarkRequest> {
    const { containerId, containerName, endpoints } = attachment;
    const interfaces: NetavarkRequest['interfaces'][number][] = [];
    for (const [i, { networkId }] of endpoints.entries()) {
      const definition = this.options.definitions.all().find(({ id }) => id === networkId);
      const bridge = definition === undefined ? undefined : bridgeOf(definition);
      if (definition === undefined || bridge === undefined) continue;
      interfaces.push(this.interfaceFor(attachment, i, bridge, await this.options.bridges.mtuOf(definition)));
    }
    return { containerId, containerName, interfaces };
  }

  private interfaceFor(
    { endpoints }: Attachment,
    index: number,
    bridge: Bridge,
    mtu: number | undefined,
  ): NetavarkRequest['interfaces'][number] {
    const { ipAddress = '', macAddress = '', aliases = [], interface: interfaceName = `eth${index}` } = endpoints[index] ?? {};
    return { bridge, interfaceName, ipAddress, macAddress, aliases, mtu, dns: this.hasDns(bridge.definition) };
  }
}

/** Ports lead to the address on the first network that the outside can reach; undefined when there is nothing to publish. */
export function publishedBy(attachment: Attachment, definitions: readonly Definition[]): Published | undefined {
  const outside = (networkId: string) =>
    definitions.some(({ id, internal, driver }) => id === networkId && driver === 'bridge' && !internal);
  const endpoint = attachment.endpoints.find(({ networkId }) => outside(networkId));
  if (endpoint === undefined || attachment.ports.length === 0) return undefined;
  return { containerId: attachment.containerId, ipAddress: endpoint.ipAddress, ports: attachment.ports };
}

function emptyEndpoint({ name, id }: Definition): Endpoint {
  const nothing = {
    ipAddress: '',
    prefixLength: 0,
    gateway: '',
    ipv6Address: '',
    ipv6PrefixLength: 0,
    ipv6Gateway: '',
    macAddress: '',
    interface: '',
    aliases: [],
    dnsServers: [],
  };
  return { network: name, networkId: id, endpointId: randomBytes(32).toString('hex'), ...nothing };
}

/** It names a file. */
function checkContainerId(containerId: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(containerId)) return;
  throw new EngineError('InvalidArgument', 'CONTAINER_ID_INVALID', `invalid container id ${JSON.stringify(containerId.slice(0, 60))}`);
}
