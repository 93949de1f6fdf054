import type { NetworkCreateRequest } from '../../api-types/network.ts';
import { usageError } from '../flags.ts';
import { cut } from './key-values.ts';

export type IpamFlags = {
  subnet: readonly string[];
  'ip-range': readonly string[];
  gateway: readonly string[];
  'aux-address': readonly string[];
};
type Config = NonNullable<NonNullable<NetworkCreateRequest['IPAM']>['Config']>[number];

/** Docker's `--subnet`, `--ip-range`, `--gateway` and `--aux-address`: the last three belong to the subnet that they lie in. Throws `USAGE`. */
export function parseIpam(flags: IpamFlags): Config[] {
  const subnets = commas(flags.subnet).map((text) => new Subnet(text));
  for (const [at, subnet] of subnets.entries()) {
    const other = subnets.slice(0, at).find((before) => before.overlaps(subnet));
    if (other !== undefined) throw usageError(`--subnet ${subnet.text} and ${other.text} overlap`);
  }
  const place = (text: string, flag: string): Config => {
    const found = subnets.find((subnet) => subnet.holds(addressOf(text, flag)));
    if (found === undefined)
      throw usageError(`no --subnet holds ${text} (${flag})`, 'Each range, gateway and address needs the subnet that it lies in.');
    return found.config;
  };
  for (const text of commas(flags['ip-range'])) {
    new Subnet(text, '--ip-range');
    setOnce(place(text, '--ip-range'), 'IPRange', text, '--ip-range');
  }
  for (const text of commas(flags.gateway)) setOnce(place(text, '--gateway'), 'Gateway', text, '--gateway');
  for (const text of flags['aux-address']) {
    const [name, address] = cut(text);
    if (name === '' || address === undefined) throw usageError(`invalid argument "${text}" for --aux-address: expected name=address`);
    const config = place(address, '--aux-address');
    config.AuxiliaryAddresses = { ...config.AuxiliaryAddresses, [name]: address };
  }
  return subnets.map(({ config }) => config);
}

function setOnce(config: Config, field: 'IPRange' | 'Gateway', value: string, flag: string): void {
  if (config[field] !== undefined) throw usageError(`${flag} ${value} and ${config[field]} are for the same subnet, ${config.Subnet}`);
  config[field] = value;
}

/** Docker takes several with commas, too. */
export function commas(texts: readonly string[]): string[] {
  return texts.flatMap((text) => text.split(',')).filter((text) => text !== '');
}

function addressOf(text: string, flag: string): string {
  const [address = ''] = text.split('/');
  if (process.getBuiltinModule('node:net').isIP(address) === 0)
    throw usageError(`invalid argument "${text}" for ${flag}: it is no IP address`);
  return address;
}

class Subnet {
  readonly text: string;
  readonly config: Config;
  readonly #address: string;
  readonly #addresses: import('node:net').BlockList;

  constructor(text: string, flag = '--subnet') {
    const { BlockList, isIP } = process.getBuiltinModule('node:net');
    const [address = '', bits = ''] = text.split('/');
    const family = isIP(address);
    if (family === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128))
      throw usageError(`invalid argument "${text}" for ${flag}: expected a range such as 10.5.0.0/24`);
    this.text = text;
    this.config = { Subnet: text };
    this.#address = address;
    this.#addresses = new BlockList();
    this.#addresses.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6');
  }

  holds(address: string): boolean {
    return this.#addresses.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
  }

  overlaps(other: Subnet): boolean {
    return this.holds(other.#address) || other.holds(this.#address);
  }
}
