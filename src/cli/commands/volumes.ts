import type { VolumeCreateRequest, VolumeList, VolumeResource } from '../../api-types/volume.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { boolean, list, text, usageError } from '../flags.ts';
import { formatFlag, labelFields, printListing } from '../format/listing.ts';
import { filterFlag, parseFilters } from '../parse/filters.ts';
import { parseLabels, parsePairs } from '../parse/key-values.ts';
import { eachName } from './each.ts';

export const volumeList = defineCommand({
  summary: 'List volumes',
  flags: { filter: filterFlag, format: formatFlag, quiet: boolean('Only names', { short: 'q' }) },
  async run({ client, output }, flags) {
    const { Volumes: volumes } = await client.get<VolumeList>('/volumes', { filters: parseFilters(flags.filter) });
    const rows = volumes
      .map((volume) => ({
        Driver: volume.Driver,
        Name: volume.Name,
        Mountpoint: volume.Mountpoint,
        Scope: volume.Scope,
        CreatedAt: volume.CreatedAt,
        ...labelFields(volume.Labels),
      }))
      .sort((a, b) => (a.Name < b.Name ? -1 : 1));
    printListing(output, rows, { table: ['Driver', 'Name'], titles: { Name: 'VOLUME NAME' }, quiet: 'Name' }, flags);
  },
});

export const volumeCreate = defineCommand({
  args: '[VOLUME]',
  summary: 'Make a volume',
  flags: {
    driver: text('Driver (local)', { short: 'd', value: 'NAME' }),
    label: list('Set a label', { value: 'NAME[=VALUE]' }),
    name: text('As the argument', { value: 'NAME' }),
    opt: list('Option of the driver', { short: 'o', value: 'NAME=VALUE' }),
  },
  async run({ client, output }, flags, [name]) {
    if (name !== undefined && flags.name !== undefined) throw usageError('the name is given twice: as --name and as the argument');
    const given = name ?? flags.name;
    const body: VolumeCreateRequest = {
      ...(given === undefined ? {} : { Name: given }),
      ...(flags.driver === undefined ? {} : { Driver: flags.driver }),
      DriverOpts: parsePairs(flags.opt, '--opt'),
      Labels: parseLabels(flags.label),
    };
    const created = await client.post<VolumeResource>('/volumes/create', { json: body });
    output.line(created.Name);
  },
});

export const volumeRemove = defineCommand({
  args: '<VOLUME...>',
  summary: 'Remove volumes and what is on them',
  flags: { force: boolean('A missing one is no error', { short: 'f' }) },
  run: (context, { force }, names) =>
    eachName(context, names, (name) => context.client.delete(route`/volumes/${name}`, { force: force ? 1 : undefined })),
});
