import type { ContainerSummary, Port } from '../../api-types/container-inspect.ts';
import { defineCommand } from '../command.ts';
import { boolean, integer } from '../flags.ts';
import { formatFlag, labelFields, printListing, type Row } from '../format/listing.ts';
import { ellipsis, goTime, humanAge, humanSize, shortId } from '../format/units.ts';
import { filterFlag, parseFilters } from '../parse/filters.ts';

export const ps = defineCommand({
  summary: 'List containers',
  flags: {
    all: boolean('Stopped ones too', { short: 'a' }),
    filter: filterFlag,
    format: formatFlag,
    last: integer('The last N, in any state', { short: 'n', value: 'N' }),
    latest: boolean('The last one, in any state', { short: 'l' }),
    'no-trunc': boolean('Show everything in full'),
    quiet: boolean('Only IDs', { short: 'q' }),
    size: boolean('How much it has written', { short: 's' }),
  },
  async run({ client, output }, flags) {
    const limit = flags.latest ? 1 : flags.last !== undefined && flags.last > 0 ? flags.last : undefined;
    const wantsSize = flags.size === true || (flags.format?.includes('.Size') ?? false);
    const containers = await client.get<ContainerSummary[]>('/containers/json', {
      all: flags.all ? 1 : undefined,
      limit,
      size: wantsSize ? 1 : undefined,
      filters: parseFilters(flags.filter),
    });
    const now = Date.now();
    const rows = containers.map((container) => toRow(container, { now, full: flags['no-trunc'] === true }));
    const columns = ['ID', 'Image', 'Command', 'RunningFor', 'Status', 'Ports', 'Names', ...(flags.size ? ['Size'] : [])];
    printListing(output, rows, { table: columns, titles, quiet: 'ID' }, flags);
  },
});

const titles = { ID: 'CONTAINER ID', RunningFor: 'CREATED', CreatedAt: 'CREATED AT', LocalVolumes: 'LOCAL VOLUMES' };

function toRow(container: ContainerSummary, { now, full }: { now: number; full: boolean }): Row {
  const names = container.Names.map((name) => name.replace(/^\//, ''));
  const mounts = container.Mounts.map((mount) => mount.Name ?? mount.Source);
  return {
    ID: full ? container.Id : shortId(container.Id),
    Names: names.join(','),
    Image: full || !container.Image.startsWith('sha256:') ? container.Image : shortId(container.Image),
    Command: JSON.stringify(full ? container.Command : ellipsis(container.Command, 20)),
    CreatedAt: goTime(container.Created * 1000),
    RunningFor: humanAge(container.Created * 1000, now),
    Ports: showPorts(container.Ports),
    State: container.State,
    Status: container.Status,
    Size: container.SizeRw === undefined ? '0B' : `${humanSize(container.SizeRw)} (virtual ${humanSize(container.SizeRootFs ?? 0)})`,
    ...labelFields(container.Labels),
    Mounts: mounts.map((mount) => (full ? mount : ellipsis(mount, 15))).join(','),
    LocalVolumes: String(container.Mounts.filter(({ Type: type }) => type === 'volume').length),
    Networks: Object.keys(container.NetworkSettings.Networks).join(','),
  };
}

/** `0.0.0.0:8000-8001->80-81/tcp, 90/udp`: neighbours that go to neighbours are joined into ranges. */
export function showPorts(ports: readonly Port[]): string {
  const sorted = [...ports].sort(
    (a, b) =>
      compare(a.Type, b.Type) ||
      compare(a.IP ?? '', b.IP ?? '') ||
      a.PrivatePort - b.PrivatePort ||
      (a.PublicPort ?? 0) - (b.PublicPort ?? 0),
  );
  const groups: { first: Port; last: Port }[] = [];
  for (const port of sorted) {
    const group = groups.at(-1);
    if (group !== undefined && follows(group.last, port)) group.last = port;
    else groups.push({ first: port, last: port });
  }
  return groups.map(({ first, last }) => showGroup(first, last)).join(', ');
}

function follows(last: Port, next: Port): boolean {
  const samePlace = last.Type === next.Type && last.IP === next.IP && (last.PublicPort === undefined) === (next.PublicPort === undefined);
  if (!samePlace || next.PrivatePort !== last.PrivatePort + 1) return false;
  return last.PublicPort === undefined || next.PublicPort === last.PublicPort + 1;
}

function showGroup(first: Port, last: Port): string {
  const range = (from: number, to: number) => (from === to ? String(from) : `${from}-${to}`);
  const inside = `${range(first.PrivatePort, last.PrivatePort)}/${first.Type}`;
  if (first.PublicPort === undefined) return inside;
  const ip = first.IP?.includes(':') ? `[${first.IP}]` : (first.IP ?? '');
  return `${ip}${ip === '' ? '' : ':'}${range(first.PublicPort, last.PublicPort ?? 0)}->${inside}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
