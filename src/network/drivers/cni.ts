import { EngineError } from '../../base/errors.ts';
import type { AttachedEndpoint } from '../attachments.ts';
import { type CniList, findCniConfig, isObject, parseCniList } from '../cni/config.ts';
import { CniInvoker, type CniTarget } from '../cni/invoke.ts';
import { parseCniResult } from '../cni/result.ts';
import type { Definition } from '../definitions.ts';
import type { PortBinding } from '../port.ts';
import type { DefinitionRequest, DriverPart, Join, NetworkDriver } from './port.ts';

/** `-o cni.config=NAME`: which configuration of the folder the network is. */
export const configOption = 'cni.config';

type Options = {
  /** Where configuration lists lie. */
  configDirectory: string;
  /** Where plugins lie, first found first. */
  pluginDirectories: readonly string[];
  log: (message: string) => void;
};

/**
 * Networks that CNI plugins make: a configuration list is taken from a folder when the network is created and kept in its definition, so that what
 * ADD has made is what DEL takes away, whatever becomes of the file. Addresses, routes, rules and published ports are the plugins' business.
 */
export class CniDriver implements NetworkDriver {
  readonly addressing = 'driver';
  readonly endsWithNamespace = false;
  readonly publishing = 'driver';
  private readonly options: Options;
  private readonly invoker: CniInvoker;

  constructor(options: Options) {
    this.options = options;
    this.invoker = new CniInvoker(options.pluginDirectories);
  }

  async define({ name, internal, options }: DefinitionRequest): Promise<DriverPart> {
    for (const key of Object.keys(options)) {
      if (key === configOption) continue;
      const message = `the cni driver has no option ${JSON.stringify(key.slice(0, 100))}`;
      throw new EngineError('Unsupported', 'NETWORK_OPTION_UNSUPPORTED', message, { hint: `It has ${configOption}.` });
    }
    if (internal)
      throw new EngineError(
        'Unsupported',
        'NETWORK_OPTION_UNSUPPORTED',
        'whether a CNI network is internal is for its configuration to say',
      );
    const config = await findCniConfig(this.options.configDirectory, options[configOption] ?? name);
    const list = parseCniList(config);
    for (const { type } of list.plugins) this.invoker.pathOf(type);
    return isObject(config) ? { cni: config } : {};
  }

  async ensure(network: Definition): Promise<Definition> {
    return network;
  }

  async join(netns: string, join: Join): Promise<AttachedEndpoint> {
    const list = listOf(join.network);
    const { endpoint } = join;
    const asked = askedOf(endpoint);
    this.checkCapabilities(list, join);
    const result = await this.invoker.add(list, targetOf(netns, join));
    const { ipv4, ipv6, macAddress, nameServers } = parseCniResult(result, endpoint.interface);
    return {
      ...endpoint,
      ipAddress: ipv4.address,
      prefixLength: ipv4.prefixLength,
      gateway: ipv4.gateway,
      ipv6Address: ipv6.address,
      ipv6PrefixLength: ipv6.prefixLength,
      ipv6Gateway: ipv6.gateway,
      macAddress,
      dnsServers: nameServers,
      cni: { ...asked, result },
    };
  }

  async leave(netns: string | undefined, join: Join): Promise<void> {
    const list = listOf(join.network);
    const remove = () => this.invoker.delete(list, targetOf(netns ?? '', join), join.endpoint.cni?.result);
    // A plugin that cannot take back what it made must not keep a container from being removed for good.
    await remove().catch(() =>
      remove().catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        this.options.log(`CNI plugins may have left something of ${join.containerName} on network ${join.network.name}: ${reason}`);
      }),
    );
  }

  async restore(netns: string, join: Join): Promise<AttachedEndpoint | undefined> {
    const list = listOf(join.network);
    try {
      await this.invoker.check(list, targetOf(netns, join), join.endpoint.cni?.result);
      return undefined;
    } catch (error) {
      this.options.log(
        `${join.containerName} is joined to ${join.network.name} anew: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    await this.leave(netns, join);
    return this.join(netns, join);
  }

  async retire(): Promise<void> {}

  private checkCapabilities({ plugins, name }: CniList, { endpoint, ports, network }: Join): void {
    const { ips, macAddress } = askedOf(endpoint);
    const can = (capability: string) => plugins.some(({ capabilities }) => capabilities[capability]);
    const wants = [
      [ports.length > 0, 'portMappings', 'publish ports'],
      [macAddress !== '', 'mac', 'have a given MAC address'],
      [ips.length > 0, 'ips', 'have a given address'],
    ] as const;
    for (const [wanted, capability, what] of wants) {
      if (!wanted || can(capability)) continue;
      const message = `containers on network ${network.name} cannot ${what}: no plugin of the CNI configuration ${name} has the capability ${capability}`;
      throw new EngineError('Unsupported', 'CNI_CAPABILITY_MISSING', message);
    }
  }
}

function listOf({ cni, name }: Definition): CniList {
  if (cni === undefined)
    throw new EngineError('DataLoss', 'NETWORK_DAMAGED', `the definition of network ${name} has lost its CNI configuration`);
  return parseCniList(cni);
}

function targetOf(netns: string, { containerId, endpoint, ports }: Join): CniTarget {
  const { ips, macAddress } = askedOf(endpoint);
  return {
    containerId,
    netns,
    interfaceName: endpoint.interface,
    capabilities: {
      ...(ports.length > 0 ? { portMappings: portMappings(ports) } : {}),
      ...(macAddress === '' ? {} : { mac: macAddress }),
      ...(ips.length > 0 ? { ips } : {}),
      aliases: { [endpoint.network]: endpoint.aliases },
    },
  };
}

/** Until it has joined, an endpoint has the addresses that were asked for; then those that it got. */
function askedOf({ cni, ipAddress, ipv6Address, macAddress }: AttachedEndpoint): { ips: string[]; macAddress: string } {
  return cni ?? { ips: [ipAddress, ipv6Address].filter((address) => address !== ''), macAddress };
}

/** Every address is said by none: the plugin then sees to the families that the container has. */
function portMappings(ports: readonly PortBinding[]): unknown[] {
  const mappings = ports.map(({ hostIp, hostPort, containerPort, protocol }) => {
    return { hostPort, containerPort, protocol, ...(['', '0.0.0.0', '::'].includes(hostIp) ? {} : { hostIP: hostIp }) };
  });
  return [...new Map(mappings.map((mapping) => [JSON.stringify(mapping), mapping])).values()];
}
