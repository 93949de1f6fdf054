import type { BridgeOptions } from '../bridge-options.ts';
import type { AddressRange } from '../definitions.ts';
import { type Family, formatIp, formatSubnet } from '../ip.ts';
import type { PortBinding } from '../port.ts';

/** A network that has a bridge on the host. */
export type FirewalledNetwork = {
  bridge: string;
  internal: boolean;
  dns: boolean;
  ranges: readonly AddressRange[];
  options: BridgeOptions;
};

/** A container's published ports and where they lead. */
export type Published = {
  containerId: string;
  bridge: string;
  /** By family; '' where the container has none. */
  addresses: Readonly<Record<Family, string>>;
  options: BridgeOptions;
  ports: readonly PortBinding[];
};

/** Everything that the rules are made of. */
export type FirewallState = { networks: readonly FirewalledNetwork[]; published: readonly Published[] };

export type Chain = {
  name: string;
  lines: readonly string[];
  /** The order of lines says nothing: one can be added or removed alone. */
  unordered?: boolean;
};
export type Jump = { from: string; match: string; to: string };
export type TableRules = { table: 'raw' | 'nat' | 'filter'; chains: readonly Chain[]; jumps: readonly Jump[] };

const loopback = { 4: '127.0.0.0/8', 6: '::1/128' } as const;

/** The rules of one family, in chains named `<prefix>-…`. */
export function renderRules(family: Family, prefix: string, { networks, published }: FirewallState): TableRules[] {
  const chain = (name: string) => `${prefix}-${name}`;
  const present = networks.filter((network) => rangeOf(network, family) !== undefined);
  const led = published.filter(({ addresses }) => addresses[family] !== '');
  const raw: TableRules = {
    table: 'raw',
    // Bridges accept 127.0.0.0/8 so that the host reaches published ports there. Nobody else may: neither a container that crafts packets to the
    // host's own services, nor a neighbour on the wire to a port published on 127.0.0.1. (Kernels drop ::1 from the wire by themselves.)
    chains: [{ name: chain('RAW'), lines: [`! -i lo -d ${loopback[4]} -j DROP`] }],
    jumps: [{ from: 'PREROUTING', match: '', to: chain('RAW') }],
  };
  const nat: TableRules = {
    table: 'nat',
    chains: [
      { name: chain('DNAT'), lines: led.flatMap((each) => translations(family, each)), unordered: true },
      { name: chain('MASQ'), lines: present.flatMap((network) => masquerades(family, network)) },
    ],
    jumps: [
      { from: 'PREROUTING', match: '-m addrtype --dst-type LOCAL ', to: chain('DNAT') },
      // No packet with the source ::1 leaves the host: the engine itself passes on what comes to ::1.
      { from: 'OUTPUT', match: `${family === 6 ? `! -d ${loopback[6]} ` : ''}-m addrtype --dst-type LOCAL `, to: chain('DNAT') },
      { from: 'POSTROUTING', match: '', to: chain('MASQ') },
    ],
  };
  const filter: TableRules = {
    table: 'filter',
    chains: [
      {
        name: chain('FWD'),
        lines: [
          ...present.filter(({ internal }) => internal).flatMap(closedRules),
          ...present.filter(({ internal }) => !internal).flatMap((network) => inwardRules(family, network, led)),
          ...present.filter(({ internal }) => !internal).map(({ bridge }) => `-i ${bridge} -j ACCEPT`),
        ],
      },
      { name: chain('IN'), lines: present.filter(({ dns }) => dns).flatMap((network) => dnsRules(family, network)) },
    ],
    jumps: [
      { from: 'FORWARD', match: '', to: chain('FWD') },
      { from: 'INPUT', match: '', to: chain('IN') },
    ],
  };
  return family === 4 ? [raw, nat, filter] : [nat, filter];
}

function rangeOf({ ranges }: FirewalledNetwork, family: Family): AddressRange | undefined {
  return ranges.find(({ subnet }) => subnet.family === family);
}

/** Whether the binding is the rules' business: the others are passed on by the engine itself. */
export function isTranslated(family: Family, { hostIp }: PortBinding): boolean {
  return hostIp === '' || (hostIp.includes(':') ? family === 6 && hostIp !== '::1' : family === 4);
}

function translations(family: Family, { containerId, addresses, options, ports }: Published): string[] {
  if (options.mode[family] === 'routed') return [];
  const address = family === 6 ? `[${addresses[6]}]` : addresses[4];
  return ports
    .filter((port) => isTranslated(family, port))
    .map(({ hostIp, hostPort, containerPort, protocol }) => {
      const destination = ['', '0.0.0.0', '::'].includes(hostIp) ? '' : `-d ${hostIp}/${family === 4 ? 32 : 128} `;
      const comment = `-m comment --comment ${containerId.slice(0, 12)}`;
      return `${destination}-p ${protocol} -m ${protocol} --dport ${hostPort} ${comment} -j DNAT --to-destination ${address}:${containerPort}`;
    });
}

function masquerades(family: Family, network: FirewalledNetwork): string[] {
  const { bridge, options, internal } = network;
  const range = rangeOf(network, family);
  if (range === undefined) return [];
  const subnet = formatSubnet(range.subnet);
  const source = options.source[family];
  const outward = options.masquerade && !internal && options.mode[family] !== 'routed';
  const how = source === undefined ? 'MASQUERADE' : `SNAT --to-source ${source}`;
  return [
    ...(outward ? [`-s ${subnet} ! -o ${bridge} -j ${how}`] : []),
    ...(family === 4 ? [`-s ${loopback[4]} -o ${bridge} -m conntrack --ctstate DNAT -j MASQUERADE`] : []),
    // A container that calls its own or a neighbour's published port: the answer must come back the way it went.
    `-s ${subnet} -o ${bridge} -m conntrack --ctstate DNAT -j MASQUERADE`,
  ];
}

/** Of an internal network: nothing leaves it, nothing gets in. */
function closedRules({ bridge, options }: FirewalledNetwork): string[] {
  return [`-i ${bridge} -o ${bridge} -j ${options.icc ? 'ACCEPT' : 'DROP'}`, `-i ${bridge} -j DROP`, `-o ${bridge} -j DROP`];
}

/**
 * What gets in, whatever the policy of FORWARD is (another engine on the host may have set it to DROP): answers, what was published, neighbours.
 * All else is dropped: from other networks, and from hosts on the wire that route to containers' own addresses.
 */
function inwardRules(family: Family, { bridge, options }: FirewalledNetwork, published: readonly Published[]): string[] {
  const mode = options.mode[family];
  const routed =
    mode !== 'routed'
      ? []
      : [
          `-o ${bridge} -p ${family === 4 ? 'icmp' : 'ipv6-icmp'} -j ACCEPT`,
          ...published
            .filter((each) => each.bridge === bridge)
            .flatMap(({ addresses, ports }) =>
              ports
                .filter((port) => isTranslated(family, port))
                .map(
                  ({ containerPort, protocol }) =>
                    `-o ${bridge} -d ${addresses[family]} -p ${protocol} -m ${protocol} --dport ${containerPort} -j ACCEPT`,
                ),
            ),
        ];
  return [
    `-o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-o ${bridge} -m conntrack --ctstate DNAT -j ACCEPT`,
    `-i ${bridge} -o ${bridge} -j ${options.icc ? 'ACCEPT' : 'DROP'}`,
    ...routed,
    `-o ${bridge} -j ${mode === 'nat-unprotected' ? 'ACCEPT' : 'DROP'}`,
  ];
}

/** Hosts whose INPUT drops what it does not know still answer their containers' look-ups. */
function dnsRules(family: Family, network: FirewalledNetwork): string[] {
  const gateway = rangeOf(network, family)?.gateway;
  if (gateway === undefined) return [];
  return ['udp', 'tcp'].map(
    (protocol) => `-i ${network.bridge} -d ${formatIp(gateway)} -p ${protocol} -m ${protocol} --dport 53 -j ACCEPT`,
  );
}
