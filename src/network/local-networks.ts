import { EngineError, toErrorData } from '../base/errors.ts';
import { toEndpoint } from './attachments.ts';
import { parseBridgeOptions } from './bridge-options.ts';
import { type CreateOptions, defineNetwork } from './creation.ts';
import { type Definition, firstHost, newNetworkId } from './definitions.ts';
import { hostFacts } from './drivers/bridge-settings.ts';
import { FirewallWatch } from './firewall/watch.ts';
import { formatSubnet, parseSubnet } from './ip.ts';
import { Serial } from './locks.ts';
import { isPredefined, type PredefinedName, predefined } from './names.ts';
import { type LocalNetworksOptions, makeParts, type Parts } from './parts.ts';
import type { Endpoint, EndpointConfig, EndpointOwner, NetworkInfo, Networks, PortBinding, PortReservation } from './port.ts';
import { reservePorts } from './ports/reservation.ts';

const defaultWatchIntervalMs = 5000;

/**
 * Networks of one root: bridges and what other drivers make, the host's network, and none. Loads its state with the first call; `recover`
 * belongs to the daemon's start, `dismantle` to taking the engine off the host.
 */
export class LocalNetworks implements Networks {
  private readonly options: LocalNetworksOptions;
  private readonly parts: Parts;
  private readonly watch: FirewallWatch;
  private readonly changes = new Serial();
  private loading: Promise<void> | undefined;
  /** As the watch last saw them. */
  private facts: string | undefined;

  constructor(options: LocalNetworksOptions) {
    this.options = options;
    this.parts = makeParts(options);
    this.watch = new FirewallWatch({
      intervalMs: options.watchIntervalMs ?? defaultWatchIntervalMs,
      facts: hostFacts,
      check: () => this.mend(),
      onError: (error) => this.parts.log(`the rules of networks could not be looked at: ${toErrorData(error).message}`),
    });
  }

  /** As `defineNetwork`. A bridge itself is made with the first container. */
  async create(options: CreateOptions): Promise<NetworkInfo> {
    await this.load();
    // One at a time, so that two creations see each other's name and subnet.
    return this.changes.run(async () => {
      const definition = await defineNetwork(options, this.parts);
      await this.parts.definitions.put(definition);
      return toInfo(definition);
    });
  }

  async get(nameOrId: string): Promise<NetworkInfo> {
    await this.load();
    return toInfo(this.parts.definitions.find(nameOrId));
  }

  async list(): Promise<NetworkInfo[]> {
    await this.load();
    return this.parts.definitions.all().map(toInfo);
  }

  /** Denied `NETWORK_PREDEFINED`, and `NETWORK_IN_USE` while a container is attached. */
  async remove(nameOrId: string): Promise<void> {
    await this.load();
    const { definitions } = this.parts;
    await this.changes.run(async () => {
      const definition = definitions.find(nameOrId);
      if (isPredefined(definition.name)) {
        throw new EngineError('Denied', 'NETWORK_PREDEFINED', `${definition.name} is a pre-defined network and cannot be removed`);
      }
      this.checkUnused(definition);
      await definitions.delete(definition.id, async () => this.parts.drivers.get(definition.driver)?.retire(definition));
    });
  }

  async reserve(bindings: readonly PortBinding[], endpoints: readonly EndpointConfig[] = []): Promise<PortReservation> {
    await this.load();
    const { attachments, reserved } = this.parts;
    const publisher = (ip: string, port: number, protocol: 'tcp' | 'udp') => attachments.publisherOf(ip, port, protocol);
    return reservePorts(bindings, { publisher, reserved, defaultIp: this.hostBinding(endpoints) });
  }

  /** Where ports are published that name no address, by the network that gives the default route. */
  private hostBinding(endpoints: readonly EndpointConfig[]): string | undefined {
    const [first] = [...endpoints].sort((a, b) => (b.gatewayPriority ?? 0) - (a.gatewayPriority ?? 0));
    const definition = first === undefined ? undefined : this.parts.definitions.named(first.name);
    return definition?.driver === 'bridge' ? parseBridgeOptions(definition.options).hostBinding : undefined;
  }

  async openNamespace(containerId: string): Promise<string> {
    await this.load();
    return this.parts.endpoints.openNamespace(containerId);
  }

  async attach(
    containerId: string,
    endpoints: readonly EndpointConfig[],
    ports: readonly PortBinding[],
    owner: EndpointOwner,
  ): Promise<{ netns: string; endpoints: Endpoint[] }> {
    await this.load();
    return this.parts.endpoints.attach(containerId, endpoints, ports, owner);
  }

  async connect(containerId: string, endpoint: EndpointConfig, owner: EndpointOwner): Promise<Endpoint> {
    await this.load();
    return this.parts.endpoints.connect(containerId, endpoint, owner);
  }

  async disconnect(containerId: string, network: string): Promise<void> {
    await this.load();
    await this.parts.endpoints.disconnect(containerId, network);
  }

  async rename(containerId: string, containerName: string): Promise<void> {
    await this.load();
    const { attachments, dns } = this.parts;
    const attachment = attachments.get(containerId);
    if (attachment === undefined) return;
    await attachments.put({ ...attachment, containerName });
    await dns.sync();
  }

  async detach(containerId: string): Promise<void> {
    await this.load();
    await this.parts.endpoints.detach(containerId);
  }

  async attached(): Promise<string[]> {
    await this.load();
    const { namespaces, attachments } = this.parts;
    return [...new Set([...(await namespaces.list()), ...attachments.all().map(({ containerId }) => containerId)])].sort();
  }

  async endpoints(containerId: string): Promise<Endpoint[]> {
    await this.load();
    return (this.parts.attachments.get(containerId)?.endpoints ?? []).map(toEndpoint);
  }

  /**
   * At the daemon's start: takes away what a crash left half-made, and puts links, rules, names and proxies back for the containers that run,
   * whatever became of them meanwhile. From then on the host's firewall is watched.
   */
  async recover(): Promise<void> {
    await this.load();
    if (this.options.watchIntervalMs !== 0) this.watch.start();
    await this.parts.bridges.sweep();
    await this.putBack({ adopt: true });
  }

  async reload(): Promise<void> {
    await this.load();
    await this.putBack({ adopt: false });
  }

  private async putBack({ adopt }: { adopt: boolean }): Promise<void> {
    const { endpoints, firewall, dns, proxies } = this.parts;
    await endpoints.restore();
    await firewall.rewrite();
    await dns.verify();
    await proxies.sync({ adopt });
  }

  private async mend(): Promise<void> {
    const { firewall, attachments, log } = this.parts;
    const flushed = await firewall.verify();
    if (flushed) log('wrote the rules of networks anew: something else had changed or flushed them');
    const facts = hostFacts();
    const changed = this.facts !== undefined && this.facts !== facts;
    if ((flushed || changed) && attachments.present().length > 0) await this.putBack({ adopt: false });
    this.facts = hostFacts();
  }

  /**
   * At the daemon's end. While a container is attached everything stays as it is; else bridges and rules go off the host, to be made anew
   * with the next container. What cannot be removed is logged and stays, for the next daemon of this root to use.
   */
  async close(): Promise<void> {
    await this.load();
    const { definitions, bridges, proxies, log } = this.parts;
    this.watch.stop();
    const inUse = definitions.all().some((definition) => bridges.isUp(definition));
    if (inUse && (await this.attached()).length === 0) {
      await this.dismantle().catch((error: unknown) => log(`bridges stay on the host: ${toErrorData(error).message}`));
    }
    proxies.close();
    await bridges.close();
  }

  /** Detaches every container and takes every bridge, chain and namespace of this root off the host. Definitions stay. */
  async dismantle(): Promise<void> {
    await this.load();
    const { endpoints, definitions, drivers, firewall, bridges } = this.parts;
    for (const containerId of await this.attached()) await endpoints.detach(containerId);
    for (const definition of definitions.all()) await drivers.get(definition.driver)?.retire(definition);
    await bridges.sweep();
    await firewall.remove();
  }

  private load(): Promise<void> {
    this.loading ??= this.loadNow().catch((error: unknown) => {
      this.loading = undefined;
      throw error;
    });
    return this.loading;
  }

  private async loadNow(): Promise<void> {
    await this.parts.definitions.load();
    await this.parts.attachments.load();
    for (const name of predefined) await this.definePredefined(name);
  }

  private async definePredefined(name: PredefinedName): Promise<void> {
    const { definitions, subnets, bridges } = this.parts;
    const existing = definitions.named(name);
    const wanted = this.options.settings?.defaultSubnet;
    if (existing !== undefined) {
      if (name === 'bridge' && wanted !== undefined && existing.subnets[0]?.subnet !== wanted) await this.moveDefault(existing, wanted);
      return;
    }
    const common = { id: newNetworkId(), name, createdAtMs: Date.now(), ipv6: false, internal: false, labels: {}, options: {} };
    if (name !== 'bridge') {
      await definitions.put({ ...common, driver: name === 'none' ? 'null' : 'host', subnets: [], subnetPicked: false });
      return;
    }
    const subnet = wanted === undefined ? await subnets.pick(4) : parseSubnet(wanted);
    const range = { subnet: formatSubnet(subnet), gateway: firstHost(subnet) };
    await definitions.put({
      ...common,
      driver: 'bridge',
      subnets: [range],
      subnetPicked: wanted === undefined,
      bridge: bridges.defaultName,
    });
  }

  /** The default network follows its configured subnet, unless containers are on it. */
  private async moveDefault(definition: Definition, wanted: string): Promise<void> {
    const { attachments, definitions, log } = this.parts;
    if (attachments.on(definition.id).length > 0) {
      log(`network.subnet is now ${wanted}; the default network takes it when no container is on it at a start`);
      return;
    }
    await this.parts.bridges.retire(definition);
    await definitions.put({ ...definition, subnets: [{ subnet: wanted, gateway: firstHost(parseSubnet(wanted)) }], subnetPicked: false });
  }

  private checkUnused({ id, name }: Definition): void {
    const users = this.parts.attachments.on(id);
    if (users.length === 0) return;
    const named = users.map(({ containerName, containerId }) => `name:"${containerName}" id:"${containerId.slice(0, 12)}"`).join(', ');
    const message = `error while removing network: network ${name} id ${id} has active endpoints (${named})`;
    throw new EngineError('Denied', 'NETWORK_IN_USE', message, { hint: 'Stop these containers, or disconnect them, first.' });
  }
}

function toInfo({ subnetPicked: _, cni: _cni, ...info }: Definition): NetworkInfo {
  return structuredClone(info);
}
