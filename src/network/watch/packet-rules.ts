import { EngineError } from '../../base/errors.ts';
import { runCommand } from '../command.ts';
import type { Family } from '../ip.ts';

/** Bytes of IP packets to and from an address; '' is all else. */
export type Counted = { address: string; bytesIn: number; bytesOut: number };

const programs = { 4: 'iptables', 6: 'ip6tables' } as const;
const chains = { out: 'SLIPWAY-TO', in: 'SLIPWAY-FROM' } as const;
/** What IPv6 itself needs on a link: neighbour solicitation and advertisement, router solicitation (RFC 4890, section 4.4.1). */
const ipv6Needs = ['133', '135', '136'].map((type) => `-A OUTPUT -p ipv6-icmp --icmpv6-type ${type} -j ACCEPT`);
const prohibited = { 4: 'icmp-admin-prohibited', 6: 'icmp6-adm-prohibited' } as const;

/**
 * Rules inside a network namespace of its own: they go with it, and what runs there without CAP_NET_ADMIN cannot change them. One rule each way and address,
 * whose counters say what went there. With `held` nothing leaves but to those addresses and within the namespace.
 */
export class PacketRules {
  readonly #netns: string;
  readonly #held: boolean;

  constructor(netns: string, { held }: { held: boolean }) {
    this.#netns = netns;
    this.#held = held;
  }

  /** Before anything runs there. IPv6 is held too where the namespace has none: an address may come by itself. */
  async begin(): Promise<void> {
    for (const family of [4, 6] as const) await this.#restore(family, this.#first(family));
  }

  #first(family: Family): string[] {
    const needs = family === 6 ? ipv6Needs : [];
    const rest = this.#held ? [`-A OUTPUT -j REJECT --reject-with ${prohibited[family]}`] : ['-A OUTPUT -j ACCEPT'];
    return [
      `:OUTPUT ${this.#held ? 'DROP' : 'ACCEPT'} [0:0]`,
      ...Object.values(chains).map((chain) => `:${chain} - [0:0]`),
      '-A OUTPUT -o lo -j ACCEPT',
      ...needs,
      `-A OUTPUT -j ${chains.out}`,
      ...rest,
      '-A INPUT -i lo -j ACCEPT',
      `-A INPUT -j ${chains.in}`,
      '-A INPUT -j ACCEPT',
    ];
  }

  /** Resolves when packets go there. */
  async admit(family: Family, addresses: readonly string[]): Promise<void> {
    const lines = addresses.flatMap((address) => [`-A ${chains.out} -d ${address} -j ACCEPT`, `-A ${chains.in} -s ${address} -j ACCEPT`]);
    await this.#restore(family, lines);
  }

  async counted(): Promise<Counted[]> {
    const both = await Promise.all(([4, 6] as const).map(async (family) => parseCounters(await this.#save(family), this.#held)));
    const [other, ...more] = both.map(({ rest }) => rest);
    const rest = {
      address: '',
      bytesIn: (other?.bytesIn ?? 0) + sum(more, 'bytesIn'),
      bytesOut: (other?.bytesOut ?? 0) + sum(more, 'bytesOut'),
    };
    return [...both.flatMap(({ addresses }) => addresses), rest];
  }

  async #save(family: Family): Promise<string> {
    const program = `${programs[family]}-save`;
    const { exitCode, stdout, stderr } = await runCommand(program, ['-c', '-t', 'filter'], {
      debianPackage: 'iptables',
      netns: this.#netns,
    });
    if (exitCode !== 0) throw failed(program, stderr);
    return stdout;
  }

  async #restore(family: Family, lines: readonly string[]): Promise<void> {
    const program = `${programs[family]}-restore`;
    const input = ['*filter', ...lines, 'COMMIT', ''].join('\n');
    const options = { input, debianPackage: 'iptables', netns: this.#netns };
    const { exitCode, stderr } = await runCommand(program, ['--noflush', '--wait', '10'], options);
    if (exitCode !== 0) throw failed(program, stderr);
  }
}

function sum(list: readonly Counted[], key: 'bytesIn' | 'bytesOut'): number {
  return list.reduce((total, counted) => total + counted[key], 0);
}

/** `[packets:bytes] -A CHAIN -d ADDRESS/32 -j ACCEPT`, as iptables-save -c writes it. What was rejected did not leave. */
export function parseCounters(text: string, held: boolean): { addresses: Counted[]; rest: Counted } {
  const found = new Map<string, Counted>();
  const rest: Counted = { address: '', bytesIn: 0, bytesOut: 0 };
  for (const [, bytes, chain, address, target] of text.matchAll(
    /^\[\d+:(\d+)\] -A (SLIPWAY-TO|SLIPWAY-FROM|OUTPUT|INPUT)(?: -[ds] ([0-9a-fA-F:.]+)\/\d+)? -j (ACCEPT)$/gm,
  )) {
    const count = Number(bytes);
    if (chain === 'INPUT' && address === undefined) rest.bytesIn += count;
    else if (chain === 'OUTPUT' && address === undefined && !held) rest.bytesOut += count;
    if (address === undefined || target === undefined) continue;
    const counted = found.get(address) ?? { address, bytesIn: 0, bytesOut: 0 };
    found.set(address, counted);
    if (chain === chains.out) counted.bytesOut += count;
    else if (chain === chains.in) counted.bytesIn += count;
  }
  return { addresses: [...found.values()], rest };
}

function failed(program: string, stderr: string): EngineError {
  return new EngineError(
    'Unavailable',
    'NETWORK_WATCH_FAILED',
    `the network of a build step cannot be watched: ${program}: ${stderr.trim().slice(0, 300)}`,
    {
      hint: 'The kernel needs netfilter in network namespaces, and the host the package iptables.',
    },
  );
}
