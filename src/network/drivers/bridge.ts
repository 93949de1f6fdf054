import { closeSync, openSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, isErrno, toErrorData } from '../../base/errors.ts';
import { NetlinkSocket } from '../../kernel/netlink.ts';
import type { AttachedEndpoint, Attachments } from '../attachments.ts';
import { bridgeNameOption, parseBridgeOptions } from '../bridge-options.ts';
import { type Definition, type Definitions, firstHost, rangesOf } from '../definitions.ts';
import { defaultInterface } from '../host-routes.ts';
import { formatSubnet, macFor } from '../ip.ts';
import { Serial } from '../locks.ts';
import { addAddress, addBridge, addVeth, deleteLink, setBridgePort, setLink } from '../netlink/messages.ts';
import type { Subnets } from '../subnets.ts';
import { bridgeExists, enableForwarding, enableIpv6Forwarding, linkExists, linkMtu } from '../sysctl.ts';
import { leastIpv6Mtu, portSettings, setBridgeSysctls } from './bridge-settings.ts';
import { addressMessages, applyEndpointSysctls, makeInterface } from './interfaces.ts';
import type { DefinitionRequest, DriverPart, Join, NetworkDriver } from './port.ts';

type Options = {
  rootId: string;
  definitions: Definitions;
  attachments: Attachments;
  subnets: Subnets;
  /** Of every bridge without one of its own; the default route's interface decides when undefined. */
  mtu: number | undefined;
  /** Awaited when bridges have come or gone: the firewall's rules name them. */
  changed: () => Promise<void>;
  log: (message: string) => void;
};

/** How long the kernel may take to end a namespace, and with it the link, before the link is deleted by name. */
const endOfNamespaceMs = 1000;

/**
 * Linux bridges, made when first used and kept until their network is removed, and veth pairs. A container's end of a pair is made inside its
 * namespace, so nothing of it ever shows on the host (docs/adr/0065).
 */
export class BridgeDriver implements NetworkDriver {
  readonly addressing = 'engine';
  readonly endsWithNamespace = true;
  readonly publishing = 'engine';
  private readonly options: Options;
  private readonly serial = new Serial();
  /** Deleting a link waits for the kernel's grace periods: those who make links do not queue behind it. */
  private sockets: { host: NetlinkSocket; deleting: NetlinkSocket } | undefined;
  /** By network id, the bridges that this process has made or found, with rules written. */
  private readonly known = new Map<string, { mtu: number | undefined }>();
  private readonly ending = new Set<Promise<void>>();

  constructor(options: Options) {
    this.options = options;
  }

  /** Closes what is open; the next call opens it again. */
  async close(): Promise<void> {
    await this.settled();
    this.sockets?.host[Symbol.dispose]();
    this.sockets?.deleting[Symbol.dispose]();
    this.sockets = undefined;
  }

  private open(): { host: NetlinkSocket; deleting: NetlinkSocket } {
    this.sockets ??= { host: new NetlinkSocket('route'), deleting: new NetlinkSocket('route') };
    return this.sockets;
  }

  private get host(): NetlinkSocket {
    return this.open().host;
  }

  async define({ id, ipv6, options }: DefinitionRequest): Promise<DriverPart> {
    const { mtu = leastIpv6Mtu } = parseBridgeOptions(options);
    if (ipv6 && mtu < leastIpv6Mtu)
      throw new EngineError('InvalidArgument', 'MTU_INVALID', `invalid MTU ${mtu}: IPv6 needs ${leastIpv6Mtu} bytes`);
    const bridge = options[bridgeNameOption] ?? this.nameFor(id);
    if (linkExists(bridge) || this.options.definitions.all().some((other) => other.bridge === bridge)) {
      throw new EngineError('Conflict', 'BRIDGE_NAME_IN_USE', `an interface named ${bridge} exists on this host`, {
        hint: `Choose another ${bridgeNameOption}.`,
      });
    }
    return { bridge };
  }

  /** Names are at most 15 bytes. */
  private nameFor(networkId: string): string {
    return `sw${this.options.rootId}${networkId.slice(0, 5)}`;
  }

  get defaultName(): string {
    return `sw${this.options.rootId}br0`;
  }

  /** The host's end of an endpoint's veth pair. */
  portName({ endpointId }: { endpointId: string }): string {
    return `sv${this.options.rootId}${endpointId.slice(0, 5)}`;
  }

  /** Whether the network has a bridge on the host now. */
  isUp(definition: Definition): boolean {
    return definition.bridge !== undefined && bridgeExists(definition.bridge);
  }

  async ensure(definition: Definition): Promise<Definition> {
    const current = this.options.definitions.find(definition.id);
    if (this.known.has(current.id) && this.isUp(current)) {
      this.routePackets(current);
      return current;
    }
    return this.serial.run(() => this.make(current.id));
  }

  private async make(networkId: string): Promise<Definition> {
    let definition = this.options.definitions.find(networkId);
    const name = bridgeOf(definition);
    const exists = bridgeExists(name);
    if (exists && this.known.has(networkId)) return definition;
    if (!exists) definition = await this.settle(definition);
    this.routePackets(definition);
    const mtu = await this.mtuOf(definition);
    await this.configure(definition, { name, exists, mtu });
    this.known.set(networkId, { mtu });
    await this.options.changed();
    return definition;
  }

  /** The bridge with its gateways' addresses, up. Nothing stays of a new one when it fails. */
  private async configure(
    definition: Definition,
    { name, exists, mtu }: { name: string; exists: boolean; mtu: number | undefined },
  ): Promise<void> {
    const ranges = rangesOf(definition);
    const address = ranges[0]?.gateway ?? ranges[0]?.subnet;
    // A hardware address given to a bridge stays; else it is the lowest of its ports' and changes under running connections.
    const macAddress =
      address === undefined ? undefined : macFor('value' in address ? address : { family: address.family, value: address.first });
    if (!exists) await this.host.request([addBridge({ name, macAddress, mtu })]);
    try {
      setBridgeSysctls(name, definition);
      const index = this.host.indexOf(name);
      const addresses = ranges.flatMap(({ gateway, subnet }) => (gateway === undefined ? [] : [addAddress(index, gateway, subnet)]));
      await this.host.request([...addresses, setLink(name, { up: true })]);
    } catch (error) {
      if (!exists) await this.remove(name);
      throw error;
    }
  }

  /** Since the subnet was picked, the host may have got a route of its own there. */
  private async settle(definition: Definition): Promise<Definition> {
    const { subnets, attachments, definitions, log } = this.options;
    try {
      for (const { subnet } of rangesOf(definition)) await subnets.checkFree(subnet, bridgeOf(definition), definition.name);
      return definition;
    } catch (error) {
      const fixed = !definition.subnetPicked || attachments.on(definition.id).length > 0;
      if (!(error instanceof EngineError) || fixed) throw error;
    }
    const picked = await subnets.pick(4);
    const others = definition.subnets.filter(({ subnet }) => subnet.includes(':'));
    const moved = { ...definition, subnets: [{ subnet: formatSubnet(picked), gateway: firstHost(picked) }, ...others] };
    await definitions.put(moved);
    log(`network ${definition.name} moved to ${formatSubnet(picked)}: the host now uses ${definition.subnets[0]?.subnet} itself`);
    return moved;
  }

  private routePackets({ ipv6 }: Definition): void {
    const why = 'containers on a bridge reach other hosts only through this one as their router';
    if (enableForwarding()) this.options.log(`turned net.ipv4.ip_forward on: ${why}`);
    if (ipv6 && enableIpv6Forwarding(readdirSync('/sys/class/net'))) this.options.log(`turned net.ipv6.conf.all.forwarding on: ${why}`);
  }

  private async mtuOf(definition: Definition): Promise<number | undefined> {
    const own = parseBridgeOptions(definition.options).mtu ?? this.options.mtu;
    if (own !== undefined) return own;
    const uplink = await defaultInterface();
    return uplink === undefined ? undefined : linkMtu(uplink);
  }

  async join(netns: string, { network, endpoint }: Join): Promise<AttachedEndpoint> {
    const options = parseBridgeOptions(network.options);
    const port = this.portName(endpoint);
    const mtu = this.known.get(network.id)?.mtu;
    const target = openSync(netns, 'r');
    try {
      const master = this.host.indexOf(bridgeOf(network));
      const outer = { name: port, mtu, master };
      const inner = { name: endpoint.interface, macAddress: endpoint.macAddress, mtu, netns: target };
      await makeInterface(netns, endpoint, () =>
        this.host.request([addVeth(outer, inner), setBridgePort(port, portSettings(options, mtu)), setLink(port, { up: true })]),
      );
    } finally {
      closeSync(target);
    }
    applyEndpointSysctls(netns, endpoint);
    using inside = new NetlinkSocket('route', netns);
    await inside.request([...addressMessages(inside.indexOf(endpoint.interface), endpoint), setLink(endpoint.interface, { up: true })]);
    return endpoint;
  }

  async leave(netns: string | undefined, { endpoint }: Join): Promise<void> {
    const port = this.portName(endpoint);
    if (netns !== undefined) return this.remove(port);
    // The kernel ends a namespace's links by itself, many at once, some tens of milliseconds later. Until then nothing comes from there any more.
    await ignoring(['ENODEV'], () => this.host.request([setLink(port, { up: false })]));
    const ending = this.awaitEnd(port).catch((error: unknown) => this.options.log(`link ${port} stays: ${toErrorData(error).message}`));
    this.ending.add(ending);
    void ending.then(() => this.ending.delete(ending));
  }

  /** Something else may hold the namespace: then its end of the pair must not stay. */
  private async awaitEnd(port: string): Promise<void> {
    for (let waitMs = 5; waitMs < endOfNamespaceMs && linkExists(port); waitMs *= 2) await sleep(waitMs, undefined, { ref: false });
    if (linkExists(port)) await this.remove(port);
  }

  /** Resolves when the links of all that have left are gone. */
  async settled(): Promise<void> {
    await Promise.all(this.ending);
  }

  async restore(netns: string, join: Join): Promise<AttachedEndpoint | undefined> {
    const { network, endpoint } = join;
    const port = this.portName(endpoint);
    if (!linkExists(port)) return this.join(netns, join);
    const master = this.host.indexOf(bridgeOf(network));
    await this.host.request([
      setLink(port, { master }),
      setBridgePort(port, portSettings(parseBridgeOptions(network.options), this.known.get(network.id)?.mtu)),
      setLink(port, { up: true }),
    ]);
    return undefined;
  }

  async retire(definition: Definition): Promise<void> {
    await this.serial.run(async () => {
      const wasKnown = this.known.delete(definition.id);
      const existed = this.isUp(definition);
      if (existed) await this.remove(bridgeOf(definition));
      if (wasKnown || existed) await this.options.changed();
    });
  }

  /** Links of this root that no attachment and no definition accounts for: what a crash left. */
  async sweep(): Promise<void> {
    await this.settled();
    const { rootId, definitions, attachments } = this.options;
    const expected = new Set([
      ...definitions.all().map(({ bridge }) => bridge),
      ...attachments.all().flatMap(({ endpoints }) => endpoints.map((endpoint) => this.portName(endpoint))),
    ]);
    for (const name of readdirSync('/sys/class/net')) {
      if (/^s[vw]/.test(name) && name.startsWith(rootId, 2) && !expected.has(name)) await this.remove(name);
    }
  }

  private async remove(name: string): Promise<void> {
    await ignoring(['ENODEV'], () => this.open().deleting.request([deleteLink(name)]));
  }
}

async function ignoring(codes: readonly string[], task: () => Promise<void>): Promise<void> {
  try {
    await task();
  } catch (error) {
    if (!isErrno(error, ...codes)) throw error;
  }
}

function bridgeOf({ bridge, id }: Definition): string {
  if (bridge === undefined) throw new Error(`network ${id} has no bridge`);
  return bridge;
}
