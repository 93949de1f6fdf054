import { EngineError } from '../../base/errors.ts';
import { parseIp, parseMac } from '../ip.ts';
import { isObject } from './config.ts';

/** What a plugin answered to ADD, of what this engine needs. '' and 0 for what it did not say. */
export type CniResult = {
  ipv4: CniAddress;
  ipv6: CniAddress;
  macAddress: string;
  nameServers: string[];
};
/** `gateway` is that of a default route: '' when the network gives none. */
type CniAddress = { address: string; prefixLength: number; gateway: string };

const nothing: CniAddress = { address: '', prefixLength: 0, gateway: '' };
const mostEntries = 256;

/** Reads a result of any version from 0.2.0 (CNI specification 1.0.0, section 5). Unavailable `CNI_RESULT_INVALID` names the field. */
export function parseCniResult(value: unknown, interfaceName: string): CniResult {
  if (!isObject(value)) throw invalid('it is not an object');
  const ips = 'ip4' in value || 'ip6' in value ? oldIps(value) : list(value.ips, 'ips');
  const routes = 'ip4' in value || 'ip6' in value ? oldRoutes(value) : list(value.routes, 'routes');
  const addresses = ips.map((entry, i) => readAddress(entry, i, routes));
  const of = (family: 4 | 6) => addresses.find(({ address }) => parseIp(address)?.family === family) ?? nothing;
  return {
    ipv4: of(4),
    ipv6: of(6),
    macAddress: readMac(list(value.interfaces, 'interfaces'), interfaceName),
    nameServers: readNameServers(value.dns),
  };
}

function readAddress(entry: unknown, i: number, routes: readonly unknown[]): CniAddress {
  const { address: cidr, gateway = '' } = isObject(entry) ? entry : {};
  const [, address = '', prefix = ''] = /^([^/]+)\/(\d{1,3})$/.exec(typeof cidr === 'string' ? cidr : '') ?? [];
  const family = parseIp(address)?.family;
  if (family === undefined || Number(prefix) > (family === 4 ? 32 : 128))
    throw invalid(`ips[${i}].address is ${JSON.stringify(cidr)?.slice(0, 60)}`);
  const isDefault = (route: unknown) => isObject(route) && route.dst === (family === 4 ? '0.0.0.0/0' : '::/0');
  const route = routes.find(isDefault);
  const own = isObject(route) && typeof route.gw === 'string' ? route.gw : gateway;
  const through = typeof own === 'string' && parseIp(own)?.family === family ? own : '';
  return { address, prefixLength: Number(prefix), gateway: route === undefined ? '' : through };
}

/** Before 0.3.0 there was one address of each family, with its routes. */
function oldIps({ ip4, ip6 }: Record<string, unknown>): unknown[] {
  return [ip4, ip6].filter(isObject).map(({ ip, gateway }) => ({ address: ip, gateway }));
}

function oldRoutes({ ip4, ip6 }: Record<string, unknown>): unknown[] {
  return [ip4, ip6].filter(isObject).flatMap(({ routes }) => list(routes, 'routes'));
}

/** That of the interface in the container; plugins list their links on the host too. */
function readMac(interfaces: readonly unknown[], interfaceName: string): string {
  const own = interfaces.find(
    (each) => isObject(each) && each.name === interfaceName && typeof each.sandbox === 'string' && each.sandbox !== '',
  );
  const mac = isObject(own) && typeof own.mac === 'string' ? own.mac : '';
  return mac === '' ? '' : parseMac(mac);
}

function readNameServers(dns: unknown): string[] {
  if (!isObject(dns)) return [];
  return list(dns.nameservers, 'dns.nameservers').filter(
    (server): server is string => typeof server === 'string' && parseIp(server) !== undefined,
  );
}

function list(value: unknown, where: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.length > mostEntries) throw invalid(`${where} is not a list of at most ${mostEntries}`);
  return value;
}

function invalid(why: string): EngineError {
  return new EngineError('Unavailable', 'CNI_RESULT_INVALID', `a CNI plugin's result cannot be read: ${why}`);
}
