import { attribute, type NetlinkMessage } from '../../kernel/netlink.ts';
import { addressBytes, type IpAddress, lastOf, type Subnet } from '../ip.ts';

// Messages of rtnetlink(7): links, addresses and routes. Numbers are those of <linux/if_link.h>, <linux/if_addr.h> and <linux/rtnetlink.h>.

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_NEWADDR = 20;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const NLM_F_REPLACE = 0x100;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const IFF_UP = 1;

const IFLA = { ADDRESS: 1, IFNAME: 3, MTU: 4, LINK: 5, MASTER: 10, LINKINFO: 18, AF_SPEC: 26, NET_NS_FD: 28 } as const;
const IFLA_INFO = { KIND: 1, DATA: 2, SLAVE_KIND: 4, SLAVE_DATA: 5 } as const;
const IFLA_BRPORT = { MODE: 4, ISOLATED: 33 } as const;
const VETH_INFO_PEER = 1;
const AF_INET = 2;
const AF_INET6 = 10;

/** What every kind of link can be given when it is made. */
export type LinkOptions = {
  name: string;
  macAddress?: string | undefined;
  mtu?: number | undefined;
  /** Index of the bridge that it becomes a port of. */
  master?: number | undefined;
  /** Index of the link that it sits on (macvlan, ipvlan). */
  parent?: number | undefined;
  /** A descriptor of the network namespace that it is made in. */
  netns?: number | undefined;
  up?: boolean | undefined;
};

/** EEXIST when there is a link of that name. */
export function addBridge(options: LinkOptions): NetlinkMessage {
  return newLink(options, [attribute(IFLA_INFO.KIND, text('bridge'))]);
}

/** A pair: `options` on this side, `peer` wherever its `netns` says. */
export function addVeth(options: LinkOptions, peer: LinkOptions): NetlinkMessage {
  const data = attribute(VETH_INFO_PEER, Buffer.concat([linkHeader({ up: peer.up ?? false }), ...linkAttributes(peer)]));
  return newLink(options, [attribute(IFLA_INFO.KIND, text('veth')), attribute(IFLA_INFO.DATA, [data])]);
}

const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
export type MacvlanMode = keyof typeof macvlanModes;
export const macvlanModeNames = Object.keys(macvlanModes) as MacvlanMode[];

export function addMacvlan(options: LinkOptions, mode: MacvlanMode): NetlinkMessage {
  return newLink(options, [
    attribute(IFLA_INFO.KIND, text('macvlan')),
    attribute(IFLA_INFO.DATA, [attribute(1, hostU32(macvlanModes[mode]))]),
  ]);
}

const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;
export type IpvlanMode = keyof typeof ipvlanModes;
export const ipvlanModeNames = Object.keys(ipvlanModes) as IpvlanMode[];

export function addIpvlan(options: LinkOptions, mode: IpvlanMode): NetlinkMessage {
  return newLink(options, [attribute(IFLA_INFO.KIND, text('ipvlan')), attribute(IFLA_INFO.DATA, [attribute(1, u16(ipvlanModes[mode]))])]);
}

/** Changes a link that there is. */
export function setLink(name: string, change: { up?: boolean; master?: number; mtu?: number }): NetlinkMessage {
  const attributes = [
    attribute(IFLA.IFNAME, text(name)),
    ...(change.mtu === undefined ? [] : [attribute(IFLA.MTU, hostU32(change.mtu))]),
    ...(change.master === undefined ? [] : [attribute(IFLA.MASTER, hostU32(change.master))]),
  ];
  return { type: RTM_NEWLINK, flags: 0, payload: Buffer.concat([linkHeader(change), ...attributes]), what: `set ${name}` };
}

/**
 * `hairpin`: frames may leave through the port that they came from. `isolated`: none are passed to other isolated ports. The port gets no
 * fe80:: address of its own when it comes up: it would take part in duplicate address detection for nothing.
 */
export function setBridgePort(
  name: string,
  { hairpin, isolated, ipv6 }: { hairpin: boolean; isolated: boolean; ipv6: boolean },
): NetlinkMessage {
  const data = [attribute(IFLA_BRPORT.MODE, u8(hairpin ? 1 : 0)), attribute(IFLA_BRPORT.ISOLATED, u8(isolated ? 1 : 0))];
  const info = [attribute(IFLA_INFO.SLAVE_KIND, text('bridge')), attribute(IFLA_INFO.SLAVE_DATA, data)];
  const [IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE] = [8, 1];
  const inet6 = attribute(AF_INET6, [attribute(IFLA_INET6_ADDR_GEN_MODE, u8(IN6_ADDR_GEN_MODE_NONE))]);
  const attributes = [
    attribute(IFLA.IFNAME, text(name)),
    attribute(IFLA.LINKINFO, info),
    ...(ipv6 ? [attribute(IFLA.AF_SPEC, [inet6])] : []),
  ];
  return { type: RTM_NEWLINK, flags: 0, payload: Buffer.concat([linkHeader({}), ...attributes]), what: `set bridge port ${name}` };
}

/** ENODEV when there is none. */
export function deleteLink(name: string): NetlinkMessage {
  const payload = Buffer.concat([linkHeader({}), attribute(IFLA.IFNAME, text(name))]);
  return { type: RTM_DELLINK, flags: 0, payload, what: `delete ${name}` };
}

/** Gives the link an address of the subnet. IPv6: usable at once, without asking whether another host has it. */
export function addAddress(index: number, address: IpAddress, subnet: Subnet): NetlinkMessage {
  const bytes = addressBytes(address);
  const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4, FLAGS: 8 };
  const IFA_F_NODAD = 2;
  const extra =
    address.family === 4
      ? subnet.prefixLength < 31
        ? [attribute(IFA.BROADCAST, addressBytes({ family: 4, value: lastOf(subnet) }))]
        : []
      : [attribute(IFA.FLAGS, hostU32(IFA_F_NODAD))];
  const payload = Buffer.concat([
    addressHeader(index, address, subnet.prefixLength),
    attribute(IFA.LOCAL, bytes),
    attribute(IFA.ADDRESS, bytes),
    ...extra,
  ]);
  return { type: RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_REPLACE, payload, what: 'add address' };
}

/** The default route; without a gateway, straight out of the interface. Takes the place of one that there is. */
export function setDefaultRoute(index: number, gateway: IpAddress | undefined, family: 4 | 6): NetlinkMessage {
  return route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, index, gateway, family, 'set default route');
}

/** ESRCH when there is none. */
export function deleteDefaultRoute(index: number, gateway: IpAddress | undefined, family: 4 | 6): NetlinkMessage {
  return route(RTM_DELROUTE, 0, index, gateway, family, 'delete default route');
}

function route(type: number, flags: number, index: number, gateway: IpAddress | undefined, family: 4 | 6, what: string): NetlinkMessage {
  const RTA = { OIF: 4, GATEWAY: 5, PRIORITY: 6 };
  const [RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST, RT_SCOPE_LINK] = [254, 4, 1, 253];
  const scope = gateway === undefined && family === 4 ? RT_SCOPE_LINK : 0;
  const header = Buffer.from([inetFamily(family), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0, 0, 0, 0]);
  const payload = Buffer.concat([
    header,
    attribute(RTA.OIF, hostU32(index)),
    ...(gateway === undefined ? [] : [attribute(RTA.GATEWAY, addressBytes(gateway))]),
    // Only then does a new IPv6 route take the place of the old one.
    ...(family === 6 ? [attribute(RTA.PRIORITY, hostU32(1024))] : []),
  ]);
  return { type, flags, payload, what };
}

function newLink(options: LinkOptions, info: readonly Buffer[]): NetlinkMessage {
  const payload = Buffer.concat([linkHeader(options), ...linkAttributes(options), attribute(IFLA.LINKINFO, info)]);
  return { type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL, payload, what: `add ${options.name}` };
}

function linkAttributes({ name, macAddress, mtu, master, parent, netns }: LinkOptions): Buffer[] {
  return [
    attribute(IFLA.IFNAME, text(name)),
    ...(macAddress === undefined ? [] : [attribute(IFLA.ADDRESS, Buffer.from(macAddress.replaceAll(':', ''), 'hex'))]),
    ...(mtu === undefined ? [] : [attribute(IFLA.MTU, hostU32(mtu))]),
    ...(master === undefined ? [] : [attribute(IFLA.MASTER, hostU32(master))]),
    ...(parent === undefined ? [] : [attribute(IFLA.LINK, hostU32(parent))]),
    ...(netns === undefined ? [] : [attribute(IFLA.NET_NS_FD, hostU32(netns))]),
  ];
}

/** struct ifinfomsg. `up` undefined leaves it as it is. */
function linkHeader({ up }: { up?: boolean | undefined }): Buffer {
  const header = Buffer.alloc(16);
  if (up === undefined) return header;
  header.writeUInt32LE(up ? IFF_UP : 0, 8);
  header.writeUInt32LE(IFF_UP, 12);
  return header;
}

/** struct ifaddrmsg. */
function addressHeader(index: number, { family }: IpAddress, prefixLength: number): Buffer {
  const header = Buffer.from([inetFamily(family), prefixLength, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32LE(index, 4);
  return header;
}

function inetFamily(family: 4 | 6): number {
  return family === 4 ? AF_INET : AF_INET6;
}

function u8(value: number): Buffer {
  return Buffer.from([value]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** In the machine's byte order, as most of netlink. */
export function hostU32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`, 'latin1');
}
