import type { NetworkCreateRequest, NetworkCreateResponse, NetworkResource } from '../../api-types/network.ts';
import type { NetworksPruneResponse } from '../../api-types/system.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { boolean, list, text } from '../flags.ts';
import { formatFlag, labelFields, printListing } from '../format/listing.ts';
import { shortId } from '../format/units.ts';
import { filterFlag, parseFilters, pruneFilterFlag } from '../parse/filters.ts';
import { parseLabels, parsePairs } from '../parse/key-values.ts';
import { confirm, forceFlag } from './confirm.ts';
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
  flags: {
    driver: text('Driver (bridge)', { short: 'd', value: 'NAME' }),
    gateway: text('Address of the host in it', { value: 'IP' }),
    internal: boolean('No way out'),
    label: list('Set a label', { value: 'NAME[=VALUE]' }),
    opt: list('Option of the driver', { short: 'o', value: 'NAME=VALUE' }),
    subnet: text('Addresses, such as 10.5.0.0/24', { value: 'CIDR' }),
  },
  async run({ client, output }, flags, [name = '']) {
    const config = {
      ...(flags.subnet === undefined ? {} : { Subnet: flags.subnet }),
      ...(flags.gateway === undefined ? {} : { Gateway: flags.gateway }),
    };
    const body: NetworkCreateRequest = {
      Name: name,
      CheckDuplicate: true,
      Driver: flags.driver ?? 'bridge',
      Internal: flags.internal === true,
      Labels: parseLabels(flags.label),
      Options: parsePairs(flags.opt, '--opt'),
      IPAM: { Config: Object.keys(config).length === 0 ? [] : [config] },
    };
    const created = await client.post<NetworkCreateResponse>('/networks/create', { json: body });
    if (created.Warning !== '') output.error(`WARNING: ${created.Warning}\n`);
    output.line(created.Id);
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

export const networkPrune = defineCommand({
  summary: 'Remove all networks that no container uses',
  flags: { filter: pruneFilterFlag, force: forceFlag },
  async run(context, flags) {
    if (!(await confirm(context, 'This removes all networks that no container uses.', flags.force))) return 1;
    const pruned = await context.client.post<NetworksPruneResponse>('/networks/prune', { query: { filters: parseFilters(flags.filter) } });
    for (const name of pruned.NetworksDeleted ?? []) context.output.line(name);
  },
});
