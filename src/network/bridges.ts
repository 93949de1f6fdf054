import { EngineError } from '../base/errors.ts';
import type { Attachments } from './attachments.ts';
import { type Bridge, bridgeOf, type Definition, type Definitions, firstHost } from './definitions.ts';
import type { Firewall } from './firewall.ts';
import { defaultInterface, hostRoutes } from './host-routes.ts';
import { formatSubnet, overlaps, parseSubnet, type Subnet } from './ipv4.ts';
import { bridgeExists, createBridge, deleteLink, enableForwarding, interfaceMtu } from './links.ts';
import { Serial } from './locks.ts';
import { mtuOption } from './rules.ts';
import { pickSubnet, type SubnetPool } from './subnet-pools.ts';

export type BridgeSettings = {
  /** The default network's subnet; picked when undefined. */
  defaultSubnet?: string | undefined;
  /** Where subnets are picked from, instead of the built-in pools. */
  pools?: readonly SubnetPool[] | undefined;
  /** Of every bridge without one of its own; the default route's interface decides when undefined. */
  mtu?: number | undefined;
};

type Options = {
  definitions: Definitions;
  attachments: Attachments;
  firewall: Firewall;
  rootId: string;
  settings: BridgeSettings;
  log: (message: string) => void;
};

/** The bridges of this root in the kernel: made when first used, kept until their network is removed. */
export class Bridges {
  private readonly options: Options;
  private readonly serial = new Serial();
  /** Networks whose bridge this process has made or found, with rules written. */
  private readonly known = new Set<string>();

  constructor(options: Options) {
    this.options = options;
  }

  /** Names are at most 15 bytes. */
  nameFor(networkId: string): string {
    return `sw${this.options.rootId}${networkId.slice(0, 5)}`;
  }

  get defaultName(): string {
    return `sw${this.options.rootId}br0`;
  }

  private anchorFor(networkId: string): string {
    return `sa${this.options.rootId}${networkId.slice(0, 4)}`;
  }

  /** A subnet that overlaps no network of this root and nothing that the host reaches. */
  async pickSubnet(): Promise<Subnet> {
    const own = this.options.definitions.all().flatMap((definition) => bridgeOf(definition)?.subnet ?? []);
    const host = (await hostRoutes()).map(({ subnet }) => subnet);
    const { rootId, settings } = this.options;
    return pickSubnet([...own, ...host], { seed: Number.parseInt(rootId, 16), pools: settings.pools });
  }

  /** Conflict `SUBNET_IN_USE` when the host reaches the range through something else than `bridgeName`. */
  async checkFree(subnet: Subnet, bridgeName: string, network: string): Promise<void> {
    const other = (await hostRoutes()).find((route) => route.interfaceName !== bridgeName && overlaps(route.subnet, subnet));
    if (other === undefined) return;
    const message = `subnet ${formatSubnet(subnet)} of network ${network} overlaps ${formatSubnet(other.subnet)}, which this host reaches through ${other.interfaceName}`;
    throw new EngineError('Conflict', 'SUBNET_IN_USE', message, { hint: 'Create the network with another --subnet.' });
  }

  /** The network's bridge, up, with this root's rules in place. Its subnet may be another than it was, while nobody uses it. */
  async ensure(definition: Definition): Promise<Bridge> {
    const bridge = this.current(definition.id);
    if (this.known.has(definition.id) && (await bridgeExists(bridge.name))) return bridge;
    return this.serial.run(() => this.make(definition.id));
  }

  private async make(networkId: string): Promise<Bridge> {
    let bridge = this.current(networkId);
    if (!(await bridgeExists(bridge.name))) {
      bridge = await this.settle(bridge);
      await this.routePackets();
      await createBridge(bridge, this.anchorFor(networkId), await this.mtuOf(bridge.definition));
    } else if (this.known.has(networkId)) return bridge;
    await this.options.firewall.rewrite();
    this.known.add(networkId);
    return bridge;
  }

  /** Since the subnet was picked, the host may have got a route of its own there. */
  private async settle(bridge: Bridge): Promise<Bridge> {
    const { definition, subnet, name } = bridge;
    try {
      await this.checkFree(subnet, name, definition.name);
      return bridge;
    } catch (error) {
      const fixed = !definition.subnetPicked || this.options.attachments.on(definition.id).length > 0;
      if (!(error instanceof EngineError) || fixed) throw error;
    }
    const picked = await this.pickSubnet();
    await this.options.definitions.put({ ...definition, subnets: [{ subnet: formatSubnet(picked), gateway: firstHost(picked) }] });
    this.options.log(`network ${definition.name} moved to ${formatSubnet(picked)}: the host now uses ${formatSubnet(subnet)} itself`);
    return this.current(definition.id);
  }

  private async routePackets(): Promise<void> {
    if (!(await enableForwarding())) return;
    this.options.log('turned net.ipv4.ip_forward on: containers on a bridge reach other hosts only through this one as their router');
  }

  async mtuOf(definition: Definition): Promise<number | undefined> {
    const own = definition.options[mtuOption];
    if (own !== undefined) return Number(own);
    if (this.options.settings.mtu !== undefined) return this.options.settings.mtu;
    const uplink = await defaultInterface();
    return uplink === undefined ? undefined : interfaceMtu(uplink);
  }

  /**
   * Takes the bridge off the host. `disband` is called with the bridge kept alive by its last port only, to have netavark remove what it
   * made for the whole network.
   */
  retire(bridge: Bridge, disband: (bridge: Bridge, dropAnchor: () => Promise<void>) => Promise<void>): Promise<void> {
    return this.serial.run(async () => {
      const anchor = this.anchorFor(bridge.definition.id);
      if (await bridgeExists(bridge.name)) await disband(bridge, () => deleteLink(anchor));
      await deleteLink(anchor);
      await deleteLink(bridge.name);
      this.known.delete(bridge.definition.id);
    });
  }

  /** The default network follows its configured subnet, unless containers are on it. */
  async configured(definition: Definition): Promise<Definition> {
    const { defaultSubnet } = this.options.settings;
    if (defaultSubnet === undefined || definition.subnets[0]?.subnet === defaultSubnet) return definition;
    if (this.options.attachments.on(definition.id).length > 0) {
      this.options.log(`network.subnet is now ${defaultSubnet}; the default network takes it when no container is on it at a start`);
      return definition;
    }
    const subnet = parseSubnet(defaultSubnet);
    return { ...definition, subnets: [{ subnet: defaultSubnet, gateway: firstHost(subnet) }], subnetPicked: false };
  }

  private current(networkId: string): Bridge {
    const bridge = bridgeOf(this.options.definitions.find(networkId));
    if (bridge === undefined) throw new Error(`network ${networkId} has no bridge`);
    return bridge;
  }
}
