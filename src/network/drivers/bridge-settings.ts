import type { BridgeOptions } from '../bridge-options.ts';
import type { Definition } from '../definitions.ts';
import { parseIp } from '../ip.ts';
import { hostHasIpv6, readSysctl, writeSysctl } from '../sysctl.ts';

/** On links of less the kernel has no IPv6 (RFC 8200, section 5). */
export const leastIpv6Mtu = 1280;

/** What on the host bridges depend on and anybody may change. Different when they have to be put back. */
export function hostFacts(): string {
  return ['ipv4/ip_forward', 'ipv6/conf/all/forwarding', 'bridge/bridge-nf-call-iptables'].map(readSysctl).join(' ');
}

/**
 * Where netfilter sees bridged packets, published ports are translated while packets are still on the bridge. It must then send a packet back
 * through the port that it came from (a container that calls its own published port), and keeping neighbours apart is left to the rules, since
 * the bridge cannot tell packets for published ports from others.
 */
export function portSettings({ icc }: BridgeOptions, mtu: number | undefined): { hairpin: boolean; isolated: boolean; ipv6: boolean } {
  const seen = seesBridgedPackets();
  return { hairpin: seen, isolated: !icc && !seen, ipv6: hostHasIpv6() && (mtu ?? leastIpv6Mtu) >= leastIpv6Mtu };
}

function seesBridgedPackets(): boolean {
  return readSysctl('bridge/bridge-nf-call-iptables') === '1';
}

export function setBridgeSysctls(name: string, { ipv6, subnets }: Definition): void {
  // Connections from the host's own 127.0.0.1 to a published port leave through the bridge with that source until masqueraded.
  if (subnets.some(({ gateway }) => parseIp(gateway)?.family === 4)) writeSysctl(`ipv4/conf/${name}/route_localnet`, '1');
  setIpv6Sysctls(name);
  writeSysctl(`ipv6/conf/${name}/disable_ipv6`, ipv6 ? '0' : '1');
}

export function setIpv6Sysctls(name: string): void {
  // Neighbours must not be able to give routes by router advertisements.
  writeSysctl(`ipv6/conf/${name}/accept_ra`, '0');
  // Addresses are the engine's to give: none is taken. While the link's own were being asked for, nothing could be forwarded to a container.
  writeSysctl(`ipv6/conf/${name}/accept_dad`, '0');
}
