import { EngineError } from '../base/errors.ts';
import { type Definition, type Definitions, firstHost, newNetworkId } from './definitions.ts';
import type { NetworkDriver } from './drivers/port.ts';
import { contains, formatIp, formatSubnet, type IpAddress, isHostOf, parseCidr, parseIp, parseSubnet, type Subnet } from './ip.ts';
import { checkName, isPredefined } from './names.ts';
import type { Networks } from './port.ts';
import type { Subnets } from './subnets.ts';
import { hostHasIpv6 } from './sysctl.ts';

export type CreateOptions = Parameters<Networks['create']>[0];
type Asked = NonNullable<CreateOptions['subnets']>[number];

type Context = { definitions: Definitions; subnets: Subnets; drivers: ReadonlyMap<string, NetworkDriver> };

/**
 * The definition that a request asks for, checked by Docker's rules: Denied for the pre-defined names and for subnets that overlap another
 * network's, Conflict `NETWORK_EXISTS`, InvalidArgument for names, subnets and gateways, NotFound for an unknown driver. Nothing is made.
 */
export async function defineNetwork(options: CreateOptions, context: Context): Promise<Definition> {
  const driver = checkCreation(options, context);
  const id = newNetworkId();
  const { name, internal = false, labels = {}, options: given = {}, ipv6 = false } = options;
  const part = await driver.define({ id, name, internal, ipv6, options: given });
  const addressed =
    driver.addressing === 'engine'
      ? await defineSubnets(options, { bridge: part.bridge ?? '', onWire: driver.publishing === 'none' }, context)
      : refuseSubnets(options);
  return {
    id,
    name,
    driver: options.driver ?? 'bridge',
    createdAtMs: Date.now(),
    ...addressed,
    ipv6,
    internal,
    labels,
    options: given,
    ...part,
  };
}

function checkCreation({ name, driver = 'bridge' }: CreateOptions, { definitions, drivers }: Context): NetworkDriver {
  checkName(name);
  if (isPredefined(name)) {
    throw new EngineError('Denied', 'NETWORK_PREDEFINED', `operation is not permitted on predefined ${name} network`);
  }
  if (driver === 'host' || driver === 'null') {
    throw new EngineError('Denied', 'NETWORK_PREDEFINED', `only one instance of "${driver}" network is allowed`);
  }
  const found = drivers.get(driver);
  if (found === undefined) {
    const shown = driver.slice(0, 60);
    throw new EngineError(
      'NotFound',
      'NETWORK_DRIVER_NOT_FOUND',
      `could not find plugin ${shown} in v1 plugin registry: plugin ${JSON.stringify(shown)} not found`,
      {
        hint: `Network drivers are: ${[...drivers.keys()].join(', ')}.`,
      },
    );
  }
  if (definitions.named(name) !== undefined) {
    throw new EngineError('Conflict', 'NETWORK_EXISTS', `network with name ${name} already exists`, {
      hint: `Use it, or remove it first: slipway network rm ${name}.`,
    });
  }
  return found;
}

function refuseSubnets({ subnets = [], ipv6 }: CreateOptions): { subnets: []; subnetPicked: false } {
  if (subnets.length === 0 && !ipv6) return { subnets: [], subnetPicked: false };
  throw new EngineError(
    'InvalidArgument',
    'SUBNET_INVALID',
    'this driver gives addresses by its own configuration: leave subnets and --ipv6 out',
  );
}

async function defineSubnets(
  { subnets: asked = [], ipv6 = false, name }: CreateOptions,
  { bridge, onWire }: { bridge: string; onWire: boolean },
  { subnets }: Context,
): Promise<{ subnets: Definition['subnets']; subnetPicked: boolean }> {
  const [ipv4Asked, ipv6Asked] = byFamily(asked);
  if (ipv6 && !hostHasIpv6()) {
    throw new EngineError('Unsupported', 'IPV6_UNAVAILABLE', `network ${name} cannot have IPv6: this host's kernel has it switched off`, {
      hint: 'Boot the host without ipv6.disable=1, or create the network without --ipv6.',
    });
  }
  if (!ipv6 && ipv6Asked !== undefined) {
    throw new EngineError(
      'InvalidArgument',
      'SUBNET_INVALID',
      `subnet ${ipv6Asked.subnet} is IPv6, but IPv6 is not enabled for network ${name}`,
      {
        hint: 'Create the network with --ipv6 (EnableIPv6).',
      },
    );
  }
  const result: Definition['subnets'] = [];
  for (const [family, one] of [[4, ipv4Asked], ...(ipv6 ? ([[6, ipv6Asked]] as const) : [])] as const) {
    const subnet = one?.subnet ? parseSubnet(one.subnet) : await subnets.pick(family);
    if (one?.subnet) {
      subnets.checkUnused(subnet);
      // Containers on the host's own wire have addresses of the host's own subnet.
      if (!onWire) await subnets.checkFree(subnet, bridge, name);
    }
    result.push(defineSubnet(subnet, one ?? {}));
  }
  return { subnets: result, subnetPicked: !ipv4Asked?.subnet };
}

function byFamily(asked: readonly Asked[]): [Asked | undefined, Asked | undefined] {
  const isIpv6 = ({ subnet, gateway }: Asked) => (subnet || gateway || '').includes(':');
  const [ipv4, ipv6] = [asked.filter((each) => !isIpv6(each)), asked.filter(isIpv6)];
  for (const [family, several] of [
    ['IPv4', ipv4],
    ['IPv6', ipv6],
  ] as const) {
    if (several.length > 1) {
      const message = `a network has one ${family} subnet, not ${several.length}: bridge driver doesn't support multiple subnets`;
      throw new EngineError('InvalidArgument', 'SUBNET_INVALID', message);
    }
  }
  return [ipv4[0], ipv6[0]];
}

function defineSubnet(subnet: Subnet, { gateway, range, aux }: Asked): Definition['subnets'][number] {
  const inside = (text: string, what: string, code: string): IpAddress => {
    const address = parseIp(text);
    if (address !== undefined && isHostOf(subnet, address)) return address;
    const message = `invalid ${what} ${JSON.stringify(text.slice(0, 60))}: it is not a host address of subnet ${formatSubnet(subnet)}`;
    throw new EngineError('InvalidArgument', code, message);
  };
  return {
    subnet: formatSubnet(subnet),
    gateway: gateway ? formatIp(inside(gateway, 'gateway', 'GATEWAY_INVALID')) : firstHost(subnet),
    ...(range ? { range: checkRange(range, subnet) } : {}),
    ...(aux && Object.keys(aux).length > 0
      ? {
          aux: Object.fromEntries(
            Object.entries(aux).map(([name, text]) => [name, formatIp(inside(text, 'auxiliary address', 'AUX_ADDRESS_INVALID'))]),
          ),
        }
      : {}),
  };
}

function checkRange(text: string, subnet: Subnet): string {
  const range = parseCidr(text);
  const fits =
    range !== undefined && range.prefixLength >= subnet.prefixLength && contains(subnet, { family: range.family, value: range.first });
  if (range !== undefined && fits) return formatSubnet(range);
  const message = `invalid ip-range ${JSON.stringify(text.slice(0, 60))}: it is not a range of subnet ${formatSubnet(subnet)}`;
  throw new EngineError('InvalidArgument', 'RANGE_INVALID', message, {
    hint: 'Give an address and a prefix length without host bits, for example 10.89.0.128/25.',
  });
}
