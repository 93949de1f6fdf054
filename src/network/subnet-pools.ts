import { EngineError } from '../base/errors.ts';
import { formatSubnet, overlaps, type Subnet, subnetOf, subnetSize } from './ipv4.ts';

/** A range that is cut into subnets of one size. */
export type SubnetPool = { readonly base: Subnet; readonly prefixLength: number };

const subnet = (a: number, b: number, prefixLength: number): Subnet => subnetOf((a * 256 + b) * 65_536, prefixLength);

/**
 * Private ranges in the order of trying. 172.17/16 comes last of its kind: a Docker that is installed later takes it without looking.
 */
const defaultPools: readonly SubnetPool[] = [
  ...Array.from({ length: 14 }, (_, i) => ({ base: subnet(172, 18 + i, 16), prefixLength: 16 })),
  { base: subnet(172, 17, 16), prefixLength: 16 },
  { base: subnet(192, 168, 16), prefixLength: 20 },
  { base: subnet(10, 128, 9), prefixLength: 20 },
];

/**
 * The first subnet of the pools that overlaps none of `taken`. `seed` turns the order of the 172.x pools: engines with different roots
 * on one host then try different ones first, and do not race for the same before either's bridge shows in the routes.
 */
export function pickSubnet(taken: readonly Subnet[], options: { seed: number; pools?: readonly SubnetPool[] | undefined }): Subnet {
  for (const pool of options.pools ?? turned(defaultPools, 14, options.seed)) {
    const step = 2 ** (32 - pool.prefixLength);
    for (let first = pool.base.first; first < pool.base.first + subnetSize(pool.base); first += step) {
      const candidate = { first, prefixLength: pool.prefixLength };
      if (!taken.some((other) => overlaps(candidate, other))) return candidate;
    }
  }
  throw new EngineError(
    'Conflict',
    'NO_FREE_SUBNET',
    'every subnet of the address pools overlaps another network or a route of this host',
    {
      hint: `Remove unused networks, or give one: slipway network create --subnet ${formatSubnet(subnet(10, 89, 24))} NAME.`,
    },
  );
}

function turned<T>(list: readonly T[], count: number, seed: number): T[] {
  const start = seed % count;
  return [...list.slice(start, count), ...list.slice(0, start), ...list.slice(count)];
}
