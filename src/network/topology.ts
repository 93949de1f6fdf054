import type { AttachedEndpoint, Attachment, Attachments } from './attachments.ts';
import { type BridgeOptions, parseBridgeOptions } from './bridge-options.ts';
import { type Definition, type Definitions, rangesOf } from './definitions.ts';
import type { DnsZone } from './dns.ts';
import type { FirewalledNetwork, FirewallState, Published } from './firewall/rules.ts';
import type { Family } from './ip.ts';
import type { ProxiedPort } from './ports/port-proxies.ts';

type Options = {
  definitions: Definitions;
  attachments: Attachments;
  /** Whether a network has its bridge on the host. */
  isUp: (definition: Definition) => boolean;
  hasDns: (definition: Definition) => boolean;
};

/** The endpoint that the default route of a family leads over: of those that have a gateway the one with the highest priority, the first of equals. */
export function gatewayEndpoint(endpoints: readonly AttachedEndpoint[], family: Family): AttachedEndpoint | undefined {
  const candidates = endpoints.filter(({ gateway, ipv6Gateway }) => (family === 4 ? gateway : ipv6Gateway) !== '');
  const highest = Math.max(...candidates.map(({ gatewayPriority }) => gatewayPriority));
  return candidates.find(({ gatewayPriority }) => gatewayPriority === highest);
}

/** What rules, names and proxies are made of: all derived from definitions and attachments, at the time of asking. */
export class Topology {
  private readonly options: Options;

  constructor(options: Options) {
    this.options = options;
  }

  firewall(): FirewallState {
    const { definitions, isUp } = this.options;
    return {
      networks: definitions.all().flatMap((definition) => (isUp(definition) ? this.firewalled(definition) : [])),
      published: this.options.attachments.present().flatMap((attachment) => this.published(attachment)),
    };
  }

  private firewalled(definition: Definition): FirewalledNetwork[] {
    const { bridge, internal, options } = definition;
    if (bridge === undefined) return [];
    return [{ bridge, internal, dns: this.options.hasDns(definition), ranges: rangesOf(definition), options: parseBridgeOptions(options) }];
  }

  /** A container's ports lead to its address on the network that gives the default route, for each family on its own. */
  published({ containerId, endpoints, ports }: Attachment): Published[] {
    if (ports.length === 0) return [];
    return ([4, 6] as const).flatMap((family) => {
      const endpoint = gatewayEndpoint(endpoints, family);
      const network = endpoint === undefined ? undefined : this.bridged(endpoint);
      if (endpoint === undefined || network === undefined) return [];
      const addresses = { 4: family === 4 ? endpoint.ipAddress : '', 6: family === 6 ? endpoint.ipv6Address : '' };
      return [{ containerId, ports, addresses, ...network }];
    });
  }

  /** Ports on IPv6 that no rule leads to their container. */
  proxied(): ProxiedPort[] {
    return this.options.attachments.present().flatMap(({ ports, endpoints }) => {
      const [ipv4, ipv6] = [this.reachable(endpoints, 4), this.reachable(endpoints, 6)];
      return ports.flatMap((binding) => {
        // With an address of IPv6 in the container, rules do all but what comes to ::1.
        const byRules = ipv6 !== undefined && !['::', '::1'].includes(binding.hostIp);
        const ip = ipv6 ?? ipv4;
        if (!binding.hostIp.includes(':') || byRules || ip === undefined) return [];
        return [{ binding, target: { ip, port: binding.containerPort } }];
      });
    });
  }

  /** The container's address for published ports; undefined where its network publishes none on the host. */
  private reachable(endpoints: readonly AttachedEndpoint[], family: Family): string | undefined {
    const endpoint = gatewayEndpoint(endpoints, family);
    const definition = endpoint === undefined ? undefined : this.options.definitions.withId(endpoint.networkId);
    if (endpoint === undefined || definition === undefined || definition.internal) return undefined;
    const publishes =
      definition.driver === 'cni' || (definition.driver === 'bridge' && parseBridgeOptions(definition.options).mode[family] !== 'routed');
    return publishes ? (family === 4 ? endpoint.ipAddress : endpoint.ipv6Address) || undefined : undefined;
  }

  zones(): DnsZone[] {
    const { definitions, attachments, hasDns, isUp } = this.options;
    const present = attachments.present();
    return definitions.all().flatMap((definition) => {
      const containers = present.flatMap(({ containerId, containerName, dnsServers, endpoints }) =>
        endpoints
          .filter(({ networkId }) => networkId === definition.id)
          .map(({ ipAddress, ipv6Address, aliases }) => {
            return { containerId, ipv4: ipAddress, ipv6: ipv6Address, names: [...new Set([containerName, ...aliases])], dnsServers };
          }),
      );
      const servers = definition.subnets.map(({ gateway }) => gateway).filter((gateway) => gateway !== '');
      if (containers.length === 0 || servers.length === 0 || !hasDns(definition) || !isUp(definition)) return [];
      return [{ networkId: definition.id, servers, containers, closed: definition.internal }];
    });
  }

  private bridged({ networkId }: AttachedEndpoint): { bridge: string; options: BridgeOptions } | undefined {
    const definition = this.options.definitions.withId(networkId);
    if (definition?.bridge === undefined || definition.driver !== 'bridge' || definition.internal) return undefined;
    return { bridge: definition.bridge, options: parseBridgeOptions(definition.options) };
  }
}
