import { EngineError } from '../base/errors.ts';
import { type Definitions, rangesOf } from './definitions.ts';
import { hostRoutes } from './host-routes.ts';
import { type Family, formatSubnet, overlaps, type Subnet } from './ip.ts';
import { localIpv6Range, pickIpv6Subnet, pickSubnet, type SubnetPool } from './subnet-pools.ts';

type Options = {
  definitions: Definitions;
  rootId: string;
  pools: readonly SubnetPool[] | undefined;
  ipv6Pool: string | undefined;
};

/** Which subnets are free, on this host and among this root's networks. */
export class Subnets {
  private readonly options: Options;

  constructor(options: Options) {
    this.options = options;
  }

  /** One that overlaps no network of this root and nothing that the host reaches. */
  async pick(family: Family): Promise<Subnet> {
    const { definitions, rootId, pools, ipv6Pool } = this.options;
    const own = definitions.all().flatMap((definition) => rangesOf(definition).map(({ subnet }) => subnet));
    const taken = [...own, ...(await hostRoutes()).map(({ subnet }) => subnet)];
    if (family === 6) return pickIpv6Subnet(taken, ipv6Pool ?? localIpv6Range(rootId));
    return pickSubnet(taken, { seed: Number.parseInt(rootId, 16), pools });
  }

  /** Denied `SUBNET_OVERLAPS` when another network of this root has a part of it. */
  checkUnused(subnet: Subnet): void {
    for (const definition of this.options.definitions.all()) {
      const other = rangesOf(definition).find((range) => overlaps(range.subnet, subnet));
      if (other === undefined) continue;
      const message =
        'invalid pool request: Pool overlaps with other one on this address space: ' +
        `${formatSubnet(subnet)} overlaps ${formatSubnet(other.subnet)} of network ${definition.name}`;
      throw new EngineError('Denied', 'SUBNET_OVERLAPS', message, { hint: 'Give another --subnet, or none to have one picked.' });
    }
  }

  /** Conflict `SUBNET_IN_USE` when the host reaches the range through something else than `bridgeName`. */
  async checkFree(subnet: Subnet, bridgeName: string, network: string): Promise<void> {
    const other = (await hostRoutes()).find((route) => route.interfaceName !== bridgeName && overlaps(route.subnet, subnet));
    if (other === undefined) return;
    const message = `subnet ${formatSubnet(subnet)} of network ${network} overlaps ${formatSubnet(other.subnet)}, which this host reaches through ${other.interfaceName}`;
    throw new EngineError('Conflict', 'SUBNET_IN_USE', message, { hint: 'Create the network with another --subnet.' });
  }
}
