import { EngineError } from '../base/errors.ts';
import { formatSubnet, overlaps, parseCidr, type Subnet, subnetSize } from './ip.ts';

/** A range that is cut into subnets of one size. */
export type SubnetPool = { readonly base: Subnet; readonly prefixLength: number };

function pool(base: string, prefixLength: number): SubnetPool {
  const parsed = parseCidr(base);
  if (parsed === undefined) throw new TypeError(`${base} is no range`);
  return { base: parsed, prefixLength };
}

/**
 * Private ranges in the order of trying. 172.17/16 comes last of its kind: a Docker that is installed later takes it without looking.
 */
const defaultPools: readonly SubnetPool[] = [
  ...Array.from({ length: 14 }, (_, i) => pool(`172.${18 + i}.0.0/16`, 16)),
  pool('172.17.0.0/16', 16),
  pool('192.168.0.0/16', 20),
  pool('10.128.0.0/9', 20),
];

/**
 * The first IPv4 subnet of the pools that overlaps none of `taken`. `seed` turns the order of the 172.x pools: engines with different roots
 * on one host then try different ones first, and do not race for the same before either's bridge shows in the routes.
 */
export function pickSubnet(taken: readonly Subnet[], options: { seed: number; pools?: readonly SubnetPool[] | undefined }): Subnet {
  const found = firstFree(options.pools ?? turned(defaultPools, 14, options.seed), taken);
  if (found !== undefined) return found;
  throw new EngineError(
    'Conflict',
    'NO_FREE_SUBNET',
    'could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network',
    {
      hint: 'Each overlaps another network or a route of this host. Remove unused networks, or give one: slipway network create --subnet 10.89.0.0/24 NAME.',
    },
  );
}

/** As `pickSubnet` for IPv6: /64s of one range. */
export function pickIpv6Subnet(taken: readonly Subnet[], base: string): Subnet {
  const { base: range } = pool(base, 64);
  const found = firstFree([{ base: range, prefixLength: Math.max(64, range.prefixLength) }], taken);
  if (found !== undefined) return found;
  const message = `could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network`;
  throw new EngineError('Conflict', 'NO_FREE_SUBNET', message, {
    hint: `Every /64 of ${formatSubnet(range)} is in use: give one with --subnet.`,
  });
}

/** A unique local range (RFC 4193) that is the root's own, so that networks of several hosts can be joined later. */
export function localIpv6Range(rootId: string): string {
  const digits = `fd${rootId}00`.slice(0, 12).padEnd(12, '0');
  return `${digits.slice(0, 4)}:${digits.slice(4, 8)}:${digits.slice(8, 12)}::/48`;
}

/** Pools have at most millions of subnets, and those that are taken are few: each look skips past one of them. */
function firstFree(pools: readonly SubnetPool[], taken: readonly Subnet[]): Subnet | undefined {
  for (const { base, prefixLength } of pools) {
    const { family } = base;
    const step = subnetSize({ family, first: 0n, prefixLength });
    const end = base.first + subnetSize(base);
    let { first } = base;
    while (first < end) {
      const candidate = { family, first, prefixLength };
      const other = taken.find((each) => overlaps(candidate, each));
      if (other === undefined) return candidate;
      const past = other.first + subnetSize(other) - base.first;
      first = base.first + ((past + step - 1n) / step) * step;
    }
  }
  return undefined;
}

function turned<T>(list: readonly T[], count: number, seed: number): T[] {
  const start = seed % count;
  return [...list.slice(start, count), ...list.slice(0, start), ...list.slice(count)];
}
