import type { EndpointRequest } from '../../api-types/container.ts';
import type {
  NetworkConnectRequest,
  NetworkCreateRequest,
  NetworkCreateResponse,
  NetworkDisconnectRequest,
  NetworkResource,
} from '../../api-types/network.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { boolean, integer, list, text } from '../flags.ts';
import { formatFlag, labelFields, printListing } from '../format/listing.ts';
import { shortId } from '../format/units.ts';
import { filterFlag, parseFilters } from '../parse/filters.ts';
import { commas, parseIpam } from '../parse/ipam.ts';
import { parseLabels, parsePairs } from '../parse/key-values.ts';
import { parseLink } from '../parse/limits.ts';
import { eachName } from './each.ts';

export const networkList = defineCommand({
  summary: 'List networks',
  flags: { filter: filterFlag, format: formatFlag, 'no-trunc': boolean('Show IDs in full'), quiet: boolean('Only IDs', { short: 'q' }) },
  async run({ client, output }, flags) {
    const networks = await client.get<NetworkResource[]>('/networks', { filters: parseFilters(flags.filter) });
    const rows = networks
      .map((network) => ({
        ID: flags['no-trunc'] ? network.Id : shortId(network.Id),
        Name: network.Name,
        Driver: network.Driver,
        Scope: network.Scope,
        Subnet: network.IPAM.Config.map(({ Subnet: subnet }) => subnet).join(','),
        Internal: String(network.Internal),
        IPv6: String(network.EnableIPv6),
        CreatedAt: network.Created,
        ...labelFields(network.Labels),
      }))
      .sort((a, b) => (a.Name < b.Name ? -1 : 1));
    printListing(output, rows, { table: ['ID', 'Name', 'Driver', 'Scope'], titles: { ID: 'NETWORK ID' }, quiet: 'ID' }, flags);
  },
});

export const networkCreate = defineCommand({
  args: '<NETWORK>',
  summary: 'Make a network',
  examples: [
    ['network create app', 'a network whose containers find each other by name'],
    ['network create --subnet 10.5.0.0/24 --gateway 10.5.0.254 --internal db', 'one with addresses of your own and no way out'],
  ],
  flags: {
    attachable: boolean('As Docker’s: containers may always join a local network'),
    'aux-address': list('Address that is given to nobody', { value: 'NAME=IP' }),
    'config-from': text('Network to take the configuration from', { value: 'NETWORK' }),
    'config-only': boolean('Only a configuration for others'),
    driver: text('Driver (bridge)', { short: 'd', value: 'NAME' }),
    gateway: list('Address of the host in it', { value: 'IP' }),
    ingress: boolean('The routing mesh of a swarm'),
    internal: boolean('No way out'),
    'ip-range': list('Give out addresses of this part only', { value: 'CIDR' }),
    'ipam-driver': text('Who picks addresses (default)', { value: 'NAME' }),
    'ipam-opt': list('Option of that driver', { value: 'NAME=VALUE' }),
    ipv4: boolean('IPv4 addresses (default true)'),
    ipv6: boolean('IPv6 addresses too'),
    label: list('Set a label', { value: 'NAME[=VALUE]' }),
    opt: list('Option of the driver', { short: 'o', value: 'NAME=VALUE' }),
    scope: text('local', { value: 'NAME' }),
    subnet: list('Addresses, such as 10.5.0.0/24', { value: 'CIDR' }),
  },
  async run({ client, output }, flags, [name = '']) {
    const from = flags['config-from'];
    const body: NetworkCreateRequest = {
      Name: name,
      Driver: flags.driver ?? 'bridge',
      Internal: flags.internal === true,
      Attachable: flags.attachable === true,
      Ingress: flags.ingress === true,
      ...(flags['config-only'] ? { ConfigOnly: true } : {}),
      ...(from === undefined ? {} : { ConfigFrom: { Network: from } }),
      ...(flags.scope === undefined ? {} : { Scope: flags.scope }),
      ...(flags.ipv4 === undefined ? {} : { EnableIPv4: flags.ipv4 }),
      ...(flags.ipv6 === undefined ? {} : { EnableIPv6: flags.ipv6 }),
      Labels: parseLabels(flags.label),
      Options: parsePairs(flags.opt, '--opt'),
      IPAM: { Driver: flags['ipam-driver'] ?? 'default', Options: parsePairs(flags['ipam-opt'], '--ipam-opt'), Config: parseIpam(flags) },
    };
    const created = await client.post<NetworkCreateResponse>('/networks/create', { json: body });
    if (created.Warning) output.error(`WARNING: ${created.Warning}\n`);
    output.line(created.Id);
  },
});

export const networkConnect = defineCommand({
  args: '<NETWORK> <CONTAINER>',
  summary: 'Put a container on a network, at once where it runs',
  flags: {
    alias: list('Further name on the network', { value: 'NAME' }),
    'driver-opt': list('Option of the driver for this container', { value: 'NAME=VALUE' }),
    'gw-priority': integer('The network with the highest one is the way out', { value: 'N' }),
    ip: text('IPv4 address', { value: 'IP' }),
    ip6: text('IPv6 address', { value: 'IP' }),
    link: list('Make another container known by a name', { value: 'CONTAINER[:ALIAS]' }),
    'link-local-ip': list('Link-local address', { value: 'IP' }),
  },
  async run({ client }, flags, [network = '', container = '']) {
    const endpoint: EndpointRequest = {
      IPAMConfig: {
        ...(flags.ip === undefined ? {} : { IPv4Address: flags.ip }),
        ...(flags.ip6 === undefined ? {} : { IPv6Address: flags.ip6 }),
        ...(flags['link-local-ip'].length === 0 ? {} : { LinkLocalIPs: commas(flags['link-local-ip']) }),
      },
      Aliases: commas(flags.alias),
      Links: flags.link.map(parseLink),
      DriverOpts: parsePairs(commas(flags['driver-opt']), '--driver-opt'),
      ...(flags['gw-priority'] === undefined ? {} : { GwPriority: flags['gw-priority'] }),
    };
    const json: NetworkConnectRequest = { Container: container, EndpointConfig: endpoint };
    await client.post(route`/networks/${network}/connect`, { json });
  },
});

export const networkDisconnect = defineCommand({
  args: '<NETWORK> <CONTAINER>',
  summary: 'Take a container off a network, at once where it runs',
  flags: { force: boolean('Also when the container has gone', { short: 'f' }) },
  async run({ client }, { force }, [network = '', container = '']) {
    const json: NetworkDisconnectRequest = { Container: container, Force: force === true };
    await client.post(route`/networks/${network}/disconnect`, { json });
  },
});

export const networkRemove = defineCommand({
  args: '<NETWORK...>',
  summary: 'Remove networks',
  flags: { force: boolean('A missing one is no error', { short: 'f' }) },
  run: (context, { force }, names) =>
    eachName(context, names, async (name) => {
      try {
        await context.client.delete(route`/networks/${name}`);
      } catch (error) {
        if (!(force && error instanceof EngineError && error.kind === 'NotFound')) throw error;
      }
    }),
});
