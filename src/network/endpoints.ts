import { EngineError, toErrorData } from '../base/errors.ts';
import { NetlinkSocket } from '../kernel/netlink.ts';
import { type AttachedEndpoint, type Attachment, type Attachments, toEndpoint } from './attachments.ts';
import { clearDefaultRoutes, setDefaultRoutes } from './default-routes.ts';
import type { Definition, Definitions } from './definitions.ts';
import type { Dns } from './dns.ts';
import type { Join, NetworkDriver } from './drivers/port.ts';
import { type EndpointPlanner, emptyEndpoint, standsAlone } from './endpoint-planner.ts';
import { type FlowFilter, forgetUdpFlows } from './firewall/conntrack.ts';
import type { Firewall } from './firewall/firewall.ts';
import { parseIp } from './ip.ts';
import { checkContainerId } from './names.ts';
import type { Namespaces } from './namespaces.ts';
import { setLink } from './netlink/messages.ts';
import type { Endpoint, EndpointConfig, EndpointOwner, PortBinding } from './port.ts';
import type { PortProxies } from './ports/port-proxies.ts';
import type { Topology } from './topology.ts';

export type EndpointsOptions = {
  definitions: Definitions;
  attachments: Attachments;
  planner: EndpointPlanner;
  namespaces: Namespaces;
  driverOf: (definition: Definition) => NetworkDriver;
  topology: Topology;
  firewall: Firewall;
  proxies: PortProxies;
  dns: Dns;
  log: (message: string) => void;
};

/** Containers joining and leaving networks. */
export class Endpoints {
  private readonly options: EndpointsOptions;
  /** Namespaces that this process has prepared. */
  private readonly opened = new Set<string>();

  constructor(options: EndpointsOptions) {
    this.options = options;
  }

  /** As `Networks.openNamespace`. */
  async openNamespace(containerId: string): Promise<string> {
    const { namespaces } = this.options;
    checkContainerId(containerId);
    const live = namespaces.isLive(containerId);
    if (live && this.opened.has(containerId)) return namespaces.pathOf(containerId);
    // One that somebody else made at its path, inside a user namespace, is taken as it is.
    const netns = live ? namespaces.pathOf(containerId) : await namespaces.create(containerId);
    using inside = new NetlinkSocket('route', netns);
    await inside.request([setLink('lo', { up: true })]);
    this.opened.add(containerId);
    return netns;
  }

  /** As `Networks.attach`. Conflict `ALREADY_ATTACHED`. */
  async attach(
    containerId: string,
    configs: readonly EndpointConfig[],
    ports: readonly PortBinding[],
    owner: EndpointOwner,
  ): Promise<{ netns: string; endpoints: Endpoint[] }> {
    const { attachments } = this.options;
    checkContainerId(containerId);
    const asked = this.resolve(configs);
    if (asked.some(({ name }) => name === 'host')) return { netns: '', endpoints: asked.map(emptyEndpoint).map(toEndpoint) };
    for (const definition of asked) if (!standsAlone(definition)) await this.options.driverOf(definition).ensure(definition);
    // From choosing addresses to `put` nothing is awaited, so nobody else is given them.
    if (attachments.get(containerId) !== undefined) {
      throw new EngineError('Conflict', 'ALREADY_ATTACHED', `container ${containerId.slice(0, 12)} is attached to its networks already`);
    }
    const endpoints: AttachedEndpoint[] = [];
    for (const [i, { id }] of asked.entries()) {
      const definition = this.options.definitions.find(id);
      endpoints.push(
        standsAlone(definition)
          ? emptyEndpoint(definition)
          : this.options.planner.plan(containerId, definition, configs[i] ?? { name: id }, endpoints),
      );
    }
    const { containerName, dnsServers = [] } = owner;
    const recorded = attachments.put({ containerId, containerName, dnsServers: [...dnsServers], endpoints, ports: [...ports] });
    try {
      await recorded;
      const netns = await this.openNamespace(containerId);
      await settleAll([this.joinAll(netns, containerId, endpoints), this.publish(containerId), this.options.dns.sync()]);
      return { netns, endpoints: (attachments.get(containerId)?.endpoints ?? []).map(toEndpoint) };
    } catch (error) {
      await this.undo(containerId, 'attach', () => this.detach(containerId));
      throw error;
    }
  }

  /** As `Networks.connect`. Conflict `NOT_ATTACHED`; Denied `ALREADY_CONNECTED`, `NETWORKS_EXCLUSIVE`. */
  async connect(containerId: string, config: EndpointConfig, owner: EndpointOwner): Promise<Endpoint> {
    const { attachments, namespaces, definitions } = this.options;
    const asked = definitions.find(config.name);
    if (standsAlone(asked)) throw exclusive(asked);
    await this.options.driverOf(asked).ensure(asked);
    const definition = definitions.find(asked.id);
    const current = attachments.get(containerId);
    if (current === undefined || !namespaces.isLive(containerId)) {
      throw new EngineError('Conflict', 'NOT_ATTACHED', `container ${owner.containerName} has no network namespace of its own that runs`);
    }
    for (const { networkId, network } of current.endpoints) {
      if (networkId === definition.id) {
        throw new EngineError(
          'Denied',
          'ALREADY_CONNECTED',
          `endpoint with name ${owner.containerName} already exists in network ${definition.name}`,
        );
      }
      if (standsAlone(definitions.find(network))) throw exclusive(definitions.find(network));
    }
    const endpoint = this.options.planner.plan(containerId, definition, config, current.endpoints);
    const recorded = attachments.put({ ...current, endpoints: [...current.endpoints, endpoint] });
    try {
      await recorded;
      await this.joinAll(namespaces.pathOf(containerId), containerId, [endpoint]);
      await settleAll([this.publish(containerId), this.options.dns.sync()]);
      return toEndpoint(this.endpointOn(containerId, definition.id) ?? endpoint);
    } catch (error) {
      await this.undo(containerId, 'connect', () => this.disconnect(containerId, definition.id));
      throw error;
    }
  }

  /** As `Networks.disconnect`. */
  async disconnect(containerId: string, network: string): Promise<void> {
    const { attachments, definitions, namespaces, dns } = this.options;
    const { id } = definitions.find(network);
    const attachment = attachments.get(containerId);
    const endpoint = this.endpointOn(containerId, id);
    if (attachment === undefined || endpoint === undefined) return;
    const netns = namespaces.isLive(containerId) ? namespaces.pathOf(containerId) : undefined;
    const join = this.joinOf(attachment, endpoint);
    if (join !== undefined) await this.options.driverOf(join.network).leave(netns, join);
    const endpoints = (attachments.get(containerId) ?? attachment).endpoints.filter(({ networkId }) => networkId !== id);
    await attachments.put({ ...(attachments.get(containerId) ?? attachment), endpoints });
    if (netns !== undefined) await setDefaultRoutes(netns, endpoints);
    await settleAll([this.publish(containerId), dns.sync()]);
  }

  /** As `Networks.detach`. What fails is tried again by the next call: the record goes last. */
  async detach(containerId: string): Promise<void> {
    const { attachments, namespaces, firewall, proxies, dns } = this.options;
    checkContainerId(containerId);
    this.opened.delete(containerId);
    const attachment = attachments.get(containerId);
    if (attachment === undefined) return namespaces.remove(containerId);
    const flows = this.flowsTo(attachment);
    attachments.leave(containerId);
    await settleAll([
      this.leaveAll(attachment),
      attachment.ports.length === 0 ? undefined : firewall.sync().then(() => forgetUdpFlows(flows)),
      proxies.sync(),
      dns.sync(),
    ]);
    await attachments.delete(containerId);
  }

  /** Puts back what is missing of all endpoints whose namespace is there. */
  async restore(): Promise<void> {
    const { attachments, namespaces, log } = this.options;
    for (const attachment of attachments.present()) {
      if (!namespaces.isLive(attachment.containerId)) continue;
      const netns = namespaces.pathOf(attachment.containerId);
      try {
        let remade = false;
        for (const endpoint of attachment.endpoints) {
          const join = this.joinOf(attachment, endpoint);
          if (join === undefined) continue;
          await this.options.driverOf(join.network).ensure(join.network);
          const made = await this.options.driverOf(join.network).restore(netns, join);
          if (made === undefined) continue;
          remade = true;
          await this.replace(attachment.containerId, made);
        }
        if (remade) await setDefaultRoutes(netns, attachments.get(attachment.containerId)?.endpoints ?? []);
      } catch (error) {
        log(`networks of container ${attachment.containerName} could not be put back: ${toErrorData(error).message}`);
      }
    }
  }

  private async joinAll(netns: string, containerId: string, endpoints: readonly AttachedEndpoint[]): Promise<void> {
    const { attachments } = this.options;
    for (const endpoint of endpoints) {
      const attachment = attachments.get(containerId);
      const join = attachment === undefined ? undefined : this.joinOf(attachment, endpoint);
      if (attachment === undefined || join === undefined) continue;
      const driver = this.options.driverOf(join.network);
      // A plugin that sets its own default route stumbles over another.
      if (driver.addressing === 'driver') await clearDefaultRoutes(netns, attachment.endpoints);
      const joined = await driver.join(netns, join);
      if (joined !== endpoint) await this.replace(containerId, joined);
    }
    await setDefaultRoutes(netns, attachments.get(containerId)?.endpoints ?? []);
  }

  private async replace(containerId: string, endpoint: AttachedEndpoint): Promise<void> {
    const attachment = this.options.attachments.get(containerId);
    if (attachment === undefined) return;
    const endpoints = attachment.endpoints.map((each) => (each.endpointId === endpoint.endpointId ? endpoint : each));
    await this.options.attachments.put({ ...attachment, endpoints });
  }

  private async leaveAll(attachment: Attachment): Promise<void> {
    const { namespaces } = this.options;
    const { containerId } = attachment;
    const joins = attachment.endpoints.flatMap((endpoint) => this.joinOf(attachment, endpoint) ?? []);
    const netns = namespaces.isLive(containerId) ? namespaces.pathOf(containerId) : undefined;
    const [behind, before] = [true, false].map((end) =>
      joins.filter(({ network }) => this.options.driverOf(network).endsWithNamespace === end),
    );
    for (const join of before ?? []) await this.options.driverOf(join.network).leave(netns, join);
    await namespaces.remove(containerId);
    await Promise.all((behind ?? []).map((join) => this.options.driverOf(join.network).leave(undefined, join)));
  }

  private async publish(containerId: string): Promise<void> {
    const attachment = this.options.attachments.get(containerId);
    if (attachment === undefined || attachment.ports.length === 0) return;
    await settleAll([this.options.firewall.sync(), this.options.proxies.sync()]);
    const udp = attachment.ports.filter(({ protocol }) => protocol === 'udp');
    await forgetUdpFlows(udp.map(({ hostIp, hostPort }) => ({ family: hostIp.includes(':') ? 6 : 4, toPort: hostPort })));
  }

  private flowsTo(attachment: Attachment): FlowFilter[] {
    if (!attachment.ports.some(({ protocol }) => protocol === 'udp')) return [];
    return this.options.topology.published(attachment).flatMap(({ addresses }) =>
      ([4, 6] as const).flatMap((family) => {
        const answeredBy = parseIp(addresses[family]);
        return answeredBy === undefined ? [] : [{ family, answeredBy }];
      }),
    );
  }

  private resolve(configs: readonly EndpointConfig[]): Definition[] {
    const definitions = configs.map(({ name }) => this.options.definitions.find(name));
    const alone = definitions.find(standsAlone);
    if (alone !== undefined && definitions.length > 1) {
      throw new EngineError('InvalidArgument', 'NETWORKS_EXCLUSIVE', `network ${alone.name} cannot be joined together with another`);
    }
    const twice = definitions.find((definition, i) => definitions.indexOf(definition) !== i);
    if (twice === undefined) return definitions;
    throw new EngineError('InvalidArgument', 'NETWORK_TWICE', `network ${twice.name} is given twice`);
  }

  /** Undefined for networks that have no interface, and for those that are gone. */
  private joinOf({ containerId, containerName, endpoints, ports }: Attachment, endpoint: AttachedEndpoint): Join | undefined {
    const network = this.options.definitions.withId(endpoint.networkId);
    if (network === undefined || standsAlone(network)) return undefined;
    // Of several networks whose driver publishes ports, the one that gives the default route does.
    const drivers = endpoints.filter(({ networkId }) => {
      const definition = this.options.definitions.withId(networkId);
      return (
        definition !== undefined &&
        !standsAlone(definition) &&
        this.options.driverOf(definition).publishing !== 'none' &&
        !definition.internal
      );
    });
    const highest = Math.max(...drivers.map(({ gatewayPriority }) => gatewayPriority));
    const publishes = drivers.find(({ gatewayPriority }) => gatewayPriority === highest)?.endpointId === endpoint.endpointId;
    return { containerId, containerName, network, endpoint, ports: publishes ? ports : [] };
  }

  private endpointOn(containerId: string, networkId: string): AttachedEndpoint | undefined {
    return this.options.attachments.get(containerId)?.endpoints.find((endpoint) => endpoint.networkId === networkId);
  }

  private async undo(containerId: string, what: string, how: () => Promise<void>): Promise<void> {
    await how().catch((error: unknown) => {
      this.options.log(`could not undo a failed ${what} of ${containerId.slice(0, 12)}: ${toErrorData(error).message}`);
    });
  }
}

function exclusive({ name }: Definition): EngineError {
  const mode = name === 'host' ? 'host' : 'private (none)';
  const message =
    name === 'host'
      ? 'container cannot be disconnected from host network or connected to host network'
      : `container cannot be connected to multiple networks with one of the networks in ${mode} mode`;
  return new EngineError('Denied', 'NETWORKS_EXCLUSIVE', message);
}

/** All, or the first failure once all have ended: the undoing must not start beside what is still being made. */
async function settleAll(promises: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) if (result.status === 'rejected') throw result.reason;
}
