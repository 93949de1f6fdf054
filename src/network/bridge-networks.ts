import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, toErrorData } from '../base/errors.ts';
import { Attachments } from './attachments.ts';
import { type BridgeSettings, Bridges } from './bridges.ts';
import { bridgeOf, type Definition, Definitions, firstHost, newNetworkId } from './definitions.ts';
import { Dns } from './dns.ts';
import { Endpoints, publishedBy } from './endpoints.ts';
import { Firewall, type FirewallState } from './firewall.ts';
import { contains, formatIpv4, formatSubnet, lastOf, overlaps, parseIpv4, parseSubnet, type Subnet } from './ipv4.ts';
import { linkExists } from './links.ts';
import { Serial } from './locks.ts';
import { Namespaces } from './namespaces.ts';
import { Netavark } from './netavark.ts';
import type { Endpoint, EndpointConfig, NetworkInfo, Networks, PortBinding, PortReservation } from './port.ts';
import { reservePorts } from './reservation.ts';
import { bridgeNameOption, checkName, checkOptions, isPredefined, type PredefinedName, predefined } from './rules.ts';

export type BridgeNetworksOptions = {
  /** `<root>/networks`: definitions, durable. */
  directory: string;
  /** `<run>`: namespaces in `netns/`; in `netavark/` what lives no longer than the kernel. */
  runDirectory: string;
  /** The first 8 hex digits of the root's SHA-256: part of every name that the host sees. */
  rootId: string;
  netavarkPath: string;
  /** Undefined, or not there: user-defined networks have no DNS. */
  aardvarkPath?: string | undefined;
  settings?: BridgeSettings | undefined;
  /** Told what whoever runs the host should know; a few messages in a daemon's life. */
  log?: ((message: string) => void) | undefined;
};

type CreateOptions = Parameters<Networks['create']>[0];

/**
 * Networks of one root: bridges, the host's network, and none. Loads its state with the first call; `recover` belongs to the daemon's
 * start, `dismantle` to taking the engine off the host.
 */
export class BridgeNetworks implements Networks {
  private readonly options: BridgeNetworksOptions;
  private readonly definitions: Definitions;
  private readonly attachments: Attachments;
  private readonly namespaces: Namespaces;
  private readonly firewall: Firewall;
  private readonly bridges: Bridges;
  private readonly log: (message: string) => void;
  private readonly changes = new Serial();
  private loading: Promise<Endpoints> | undefined;

  constructor(options: BridgeNetworksOptions) {
    const { rootId, runDirectory, directory, settings } = options;
    if (!/^[0-9a-f]{8}$/.test(rootId)) throw new TypeError(`rootId must be 8 hex digits, not ${rootId}`);
    this.options = options;
    this.log = options.log ?? (() => {});
    this.definitions = new Definitions(directory);
    this.attachments = new Attachments(join(runDirectory, 'netavark', 'attachments'));
    this.namespaces = new Namespaces(join(runDirectory, 'netns'));
    this.firewall = new Firewall({ rootId, state: () => this.firewallState() });
    const { definitions, attachments, firewall, log } = this;
    this.bridges = new Bridges({ definitions, attachments, firewall, rootId, settings: settings ?? {}, log });
  }

  /**
   * Docker's rules: Denied for the pre-defined names and for subnets that overlap another network's, Conflict `NETWORK_EXISTS`,
   * InvalidArgument for names, subnets and gateways, NotFound for an unknown driver. The bridge itself is made with the first container.
   */
  async create(options: CreateOptions): Promise<NetworkInfo> {
    await this.load();
    // One at a time, so that two creations see each other's name and subnet.
    return this.changes.run(async () => {
      this.checkCreation(options);
      const id = newNetworkId();
      const bridge = options.options?.[bridgeNameOption] ?? this.bridges.nameFor(id);
      if (linkExists(bridge)) {
        throw new EngineError('Conflict', 'BRIDGE_NAME_IN_USE', `an interface named ${bridge} exists on this host`, {
          hint: `Choose another ${bridgeNameOption}.`,
        });
      }
      const [wanted] = options.subnets ?? [];
      if (options.ipv6 || (options.subnets?.length ?? 0) > 1) {
        throw new EngineError('Unsupported', 'IPV6_UNSUPPORTED', 'a network has one IPv4 subnet');
      }
      const picked = wanted?.subnet === undefined;
      const subnet = wanted?.subnet === undefined ? await this.bridges.pickSubnet() : await this.checkSubnet(wanted.subnet, options.name);
      const definition: Definition = {
        id,
        name: options.name,
        driver: 'bridge',
        createdAtMs: Date.now(),
        subnets: [{ subnet: formatSubnet(subnet), gateway: checkGateway(wanted?.gateway, subnet) }],
        subnetPicked: picked,
        ipv6: false,
        internal: options.internal ?? false,
        labels: options.labels ?? {},
        options: options.options ?? {},
        bridge,
      };
      await this.definitions.put(definition);
      return toInfo(definition);
    });
  }

  async get(nameOrId: string): Promise<NetworkInfo> {
    await this.load();
    return toInfo(this.definitions.find(nameOrId));
  }

  async list(): Promise<NetworkInfo[]> {
    await this.load();
    return this.definitions.all().map(toInfo);
  }

  /** Denied `NETWORK_PREDEFINED`, and `NETWORK_IN_USE` while a container is attached. */
  async remove(nameOrId: string): Promise<void> {
    const endpoints = await this.load();
    await this.changes.run(async () => {
      const definition = this.definitions.find(nameOrId);
      if (isPredefined(definition.name)) {
        throw new EngineError('Denied', 'NETWORK_PREDEFINED', `${definition.name} is a pre-defined network and cannot be removed`);
      }
      this.checkUnused(definition);
      // Forgotten first: nothing can be attached any more while the bridge goes.
      await this.definitions.delete(definition.id);
      const bridge = bridgeOf(definition);
      if (bridge !== undefined && (await endpoints.retire(bridge))) await this.firewall.rewrite();
    });
  }

  async reserve(bindings: readonly PortBinding[]): Promise<PortReservation> {
    await this.load();
    return reservePorts(bindings, (ip, port, protocol) => this.attachments.publisherOf(ip, port, protocol));
  }

  async attach(
    containerId: string,
    endpoints: readonly EndpointConfig[],
    ports: readonly PortBinding[],
    names: { containerName: string; hostname: string },
  ): Promise<{ netns: string; endpoints: Endpoint[] }> {
    return (await this.load()).attach(containerId, endpoints, ports, names.containerName);
  }

  async openNamespace(containerId: string): Promise<string> {
    return (await this.load()).openNamespace(containerId);
  }

  async connect(containerId: string, endpoint: EndpointConfig, names: { containerName: string; hostname: string }): Promise<Endpoint> {
    return (await this.load()).connect(containerId, endpoint, names.containerName);
  }

  async disconnect(containerId: string, network: string): Promise<void> {
    await (await this.load()).disconnect(containerId, network);
  }

  async reload(): Promise<void> {
    await this.recover();
  }

  async detach(containerId: string): Promise<void> {
    await (await this.load()).detach(containerId);
  }

  async attached(): Promise<string[]> {
    await this.load();
    return [...new Set([...(await this.namespaces.list()), ...this.attachments.all().map(({ containerId }) => containerId)])].sort();
  }

  async endpoints(containerId: string): Promise<Endpoint[]> {
    await this.load();
    return this.attachments.get(containerId)?.endpoints ?? [];
  }

  /** At the daemon's start: rules and DNS are put back for the containers that run, whatever became of them meanwhile. */
  async recover(): Promise<void> {
    const endpoints = await this.load();
    if (this.attachments.all().length === 0) return;
    await this.firewall.rewrite();
    if (await endpoints.reviveDns()) this.log('started aardvark-dns again: it was gone while containers on networks with DNS were running');
  }

  /**
   * At the daemon's end. While a container is attached everything stays as it is; else bridges and rules go off the host, to be made anew
   * with the next container. What cannot be removed is logged and stays, for the next daemon of this root to use.
   */
  async close(): Promise<void> {
    await this.load();
    const inUse = this.definitions.all().some(({ bridge }) => bridge !== undefined && linkExists(bridge));
    if (!inUse || (await this.attached()).length > 0) return;
    await this.dismantle().catch((error: unknown) => this.log(`bridges stay on the host: ${toErrorData(error).message}`));
  }

  /** Detaches every container and takes every bridge, chain and namespace of this root off the host. Definitions stay. */
  async dismantle(): Promise<void> {
    const endpoints = await this.load();
    for (const containerId of await this.attached()) await endpoints.detach(containerId);
    for (const definition of this.definitions.all()) {
      const bridge = bridgeOf(definition);
      if (bridge !== undefined) await endpoints.retire(bridge);
    }
    await this.firewall.remove();
  }

  private load(): Promise<Endpoints> {
    this.loading ??= this.loadNow().catch((error: unknown) => {
      this.loading = undefined;
      throw error;
    });
    return this.loading;
  }

  private async loadNow(): Promise<Endpoints> {
    await this.definitions.load();
    await this.attachments.load();
    for (const name of predefined) await this.definePredefined(name);
    const { rootId, netavarkPath, runDirectory } = this.options;
    const aardvarkPath = await this.findAardvark();
    const configDirectory = join(runDirectory, 'netavark', 'config');
    return new Endpoints({
      definitions: this.definitions,
      attachments: this.attachments,
      namespaces: this.namespaces,
      firewall: this.firewall,
      bridges: this.bridges,
      netavark: new Netavark({ netavarkPath, aardvarkPath, configDirectory, rootId }),
      dns: new Dns({ aardvarkPath, configDirectory }),
      log: this.log,
    });
  }

  private async findAardvark(): Promise<string | undefined> {
    const { aardvarkPath } = this.options;
    if (aardvarkPath === undefined) return undefined;
    return access(aardvarkPath).then(
      () => aardvarkPath,
      () => {
        this.log(`${aardvarkPath} is not there: containers on user-defined networks do not find each other by name`);
        return undefined;
      },
    );
  }

  private async definePredefined(name: PredefinedName): Promise<void> {
    const existing = this.definitions.named(name);
    if (name === 'bridge' && existing !== undefined) {
      const configured = await this.bridges.configured(existing);
      if (configured !== existing) await this.definitions.put(configured);
    }
    if (existing !== undefined) return;
    const common = { id: newNetworkId(), name, createdAtMs: Date.now(), ipv6: false, internal: false, labels: {}, options: {} };
    if (name !== 'bridge') {
      await this.definitions.put({ ...common, driver: name === 'none' ? 'null' : 'host', subnets: [], subnetPicked: false });
      return;
    }
    const wanted = this.options.settings?.defaultSubnet;
    const subnet = wanted === undefined ? await this.bridges.pickSubnet() : parseSubnet(wanted);
    const subnets = [{ subnet: formatSubnet(subnet), gateway: firstHost(subnet) }];
    await this.definitions.put({
      ...common,
      driver: 'bridge',
      subnets,
      subnetPicked: wanted === undefined,
      bridge: this.bridges.defaultName,
    });
  }

  private checkCreation({ name, driver = 'bridge', options = {} }: CreateOptions): void {
    checkName(name);
    if (isPredefined(name)) {
      throw new EngineError('Denied', 'NETWORK_PREDEFINED', `operation is not permitted on predefined ${name} network`);
    }
    if (driver === 'host' || driver === 'null') {
      throw new EngineError('Denied', 'NETWORK_PREDEFINED', `only one instance of "${driver}" network is allowed`);
    }
    if (driver !== 'bridge') {
      throw new EngineError('NotFound', 'NETWORK_DRIVER_NOT_FOUND', `network driver ${JSON.stringify(driver.slice(0, 60))} not found`, {
        hint: 'The driver is bridge.',
      });
    }
    checkOptions(options);
    if (this.definitions.named(name) !== undefined) {
      throw new EngineError('Conflict', 'NETWORK_EXISTS', `network with name ${name} already exists`, {
        hint: `Use it, or remove it first: slipway network rm ${name}.`,
      });
    }
  }

  private async checkSubnet(text: string, name: string): Promise<Subnet> {
    const subnet = parseSubnet(text);
    for (const definition of this.definitions.all()) {
      const bridge = bridgeOf(definition);
      if (bridge === undefined || !overlaps(bridge.subnet, subnet)) continue;
      const message = `subnet ${text} overlaps ${formatSubnet(bridge.subnet)} of network ${definition.name}`;
      throw new EngineError('Denied', 'SUBNET_OVERLAPS', message, { hint: 'Give another --subnet, or none to have one picked.' });
    }
    await this.bridges.checkFree(subnet, '', name);
    return subnet;
  }

  private checkUnused(definition: Definition): void {
    const users = this.attachments.on(definition.id);
    if (users.length === 0) return;
    const names = users.map((id) => this.attachments.get(id)?.containerName ?? id).join(', ');
    throw new EngineError('Denied', 'NETWORK_IN_USE', `network ${definition.name} has active endpoints: ${names}`, {
      hint: 'Stop these containers first.',
    });
  }

  private firewallState(): FirewallState {
    return {
      bridges: this.definitions.all().flatMap((definition) => bridgeOf(definition) ?? []),
      published: this.attachments.all().flatMap((attachment) => publishedBy(attachment, this.definitions.all()) ?? []),
    };
  }
}

function checkGateway(text: string | undefined, subnet: Subnet): string {
  if (text === undefined || text === '') return firstHost(subnet);
  const address = parseIpv4(text);
  if (address === undefined || !contains(subnet, address) || address === subnet.first || address === lastOf(subnet)) {
    const message = `invalid gateway ${JSON.stringify(text.slice(0, 60))}: it is not a host address in ${formatSubnet(subnet)}`;
    throw new EngineError('InvalidArgument', 'GATEWAY_INVALID', message);
  }
  return formatIpv4(address);
}

function toInfo({ subnetPicked: _, ...info }: Definition): NetworkInfo {
  return structuredClone(info);
}
