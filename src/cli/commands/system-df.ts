import type { ContainerSummary } from '../../api-types/container-inspect.ts';
import type { ImageSummary } from '../../api-types/image.ts';
import type { DiskUsageResponse } from '../../api-types/system.ts';
import type { VolumeResource } from '../../api-types/volume.ts';
import { type Context, defineCommand } from '../command.ts';
import { boolean } from '../flags.ts';
import { formatFlag, printListing, type Row } from '../format/listing.ts';
import { ellipsis, humanAge, humanSize, humanSum, shortId } from '../format/units.ts';

export const systemDf = defineCommand({
  summary: 'Show what images, containers, volumes and build results hold',
  flags: { format: formatFlag, verbose: boolean('Each of them', { short: 'v' }) },
  async run(context, flags) {
    const usage = await context.client.get<DiskUsageResponse>('/system/df');
    if (flags.verbose) printEach(context, usage, flags.format);
    else {
      const columns = { table: ['Type', 'TotalCount', 'Active', 'Size', 'Reclaimable'], titles: { TotalCount: 'TOTAL' } };
      printListing(context.output, summary(usage), columns, flags);
    }
  },
});

/** -1 is the API's "not known". */
function sum(values: (number | undefined)[]): number {
  return values.reduce<number>((total, value) => total + Math.max(0, value ?? 0), 0);
}

function isActive({ State: state }: ContainerSummary): boolean {
  return state === 'running' || state === 'paused' || state === 'restarting';
}

function users({ UsageData: data }: VolumeResource): number {
  return data?.RefCount ?? 0;
}

function summary({ Images, Containers, Volumes, BuildCache, LayersSize }: DiskUsageResponse): Row[] {
  const images = Images ?? [];
  const containers = Containers ?? [];
  const volumes = Volumes ?? [];
  const unshared = ({ Size: size, SharedSize: shared }: ImageSummary) => (size < 0 || shared < 0 ? 0 : size - shared);
  const usedImages = images.filter(({ Containers: count }) => count > 0);
  const build: readonly BuildCacheItem[] = BuildCache ?? [];
  const ownBuild = build.filter(({ Shared: shared }) => !shared);
  const written = (of: ContainerSummary[]) => sum(of.map(({ SizeRw: size }) => size));
  const held = (of: VolumeResource[]) => sum(of.map(({ UsageData: data }) => data?.Size));
  return [
    row('Images', [images.length, usedImages.length], LayersSize, LayersSize - sum(usedImages.map(unshared))),
    row(
      'Containers',
      [containers.length, containers.filter(isActive).length],
      written(containers),
      written(containers.filter((container) => !isActive(container))),
    ),
    row(
      'Local Volumes',
      [volumes.length, volumes.filter((volume) => users(volume) > 0).length],
      held(volumes),
      held(volumes.filter((volume) => users(volume) === 0)),
    ),
    row(
      'Build Cache',
      [build.length, build.filter(({ InUse: used }) => used).length],
      sum(ownBuild.map(({ Size: size }) => size)),
      sum(ownBuild.filter(({ InUse: used }) => !used).map(({ Size: size }) => size)),
    ),
  ];
}

type BuildCacheItem = { ID: string; Type: string; Size: number; InUse: boolean; Shared: boolean; UsageCount: number };

function row(type: string, [total, active]: [number, number], size: number, reclaimable: number): Row {
  const known = size >= 0;
  const share = size > 0 ? ` (${Math.floor((Math.max(0, reclaimable) * 100) / size)}%)` : '';
  return {
    Type: type,
    TotalCount: String(total),
    Active: String(active),
    Size: known ? humanSum(size) : 'N/A',
    Reclaimable: known ? `${humanSum(Math.max(0, reclaimable))}${share}` : 'N/A',
  };
}

function printEach({ output }: Context, usage: DiskUsageResponse, format: string | undefined): void {
  const lists = {
    Images: (usage.Images ?? []).map(imageRow),
    Containers: (usage.Containers ?? []).map(containerRow),
    Volumes: (usage.Volumes ?? []).map(volumeRow),
    BuildCache: ((usage.BuildCache ?? []) as readonly BuildCacheItem[]).map(buildRow),
  };
  if (format !== undefined && format !== '' && format !== 'table') {
    printListing(output, [lists as unknown as Row], { table: [] }, { format });
    return;
  }
  const print = (heading: string, rows: Row[], table: string[], titles: Record<string, string>) => {
    output.write(`${heading}\n\n`);
    printListing(output, rows, { table, titles }, {});
  };
  print(
    'Images space usage:',
    lists.Images,
    ['Repository', 'Tag', 'ID', 'CreatedSince', 'Size', 'SharedSize', 'UniqueSize', 'Containers'],
    {
      ID: 'IMAGE ID',
      CreatedSince: 'CREATED',
    },
  );
  output.line();
  print('Containers space usage:', lists.Containers, ['ID', 'Image', 'Command', 'LocalVolumes', 'Size', 'RunningFor', 'Status', 'Names'], {
    ID: 'CONTAINER ID',
    RunningFor: 'CREATED',
  });
  output.line();
  print('Local Volumes space usage:', lists.Volumes, ['Name', 'Links', 'Size'], { Name: 'VOLUME NAME' });
  output.line();
  print(
    `Build cache usage: ${humanSize(sum(((usage.BuildCache ?? []) as readonly BuildCacheItem[]).map(({ Size: size }) => size)))}`,
    lists.BuildCache,
    ['ID', 'CacheType', 'Size', 'UsageCount', 'Shared'],
    {
      ID: 'CACHE ID',
      CacheType: 'CACHE TYPE',
      UsageCount: 'USAGE',
    },
  );
}

function known(bytes: number | undefined): string {
  return bytes === undefined || bytes < 0 ? 'N/A' : humanSize(bytes);
}

function imageRow(image: ImageSummary): Row {
  const [name = '<none>:<none>'] = image.RepoTags ?? [];
  const colon = name.lastIndexOf(':');
  const shared = image.SharedSize;
  return {
    Repository: name.slice(0, colon),
    Tag: name.slice(colon + 1),
    ID: shortId(image.Id),
    CreatedSince: humanAge(image.Created * 1000, Date.now()),
    Size: known(image.Size),
    SharedSize: known(shared),
    UniqueSize: shared < 0 ? 'N/A' : humanSize(image.Size - shared),
    Containers: image.Containers < 0 ? 'N/A' : String(image.Containers),
  };
}

function containerRow(container: ContainerSummary): Row {
  return {
    ID: shortId(container.Id),
    Image: container.Image,
    Command: JSON.stringify(ellipsis(container.Command, 20)),
    LocalVolumes: String(container.Mounts.filter(({ Type: type }) => type === 'volume').length),
    Size: humanSize(container.SizeRw ?? 0),
    RunningFor: humanAge(container.Created * 1000, Date.now()),
    Status: container.Status,
    Names: container.Names.map((name) => name.replace(/^\//, '')).join(','),
  };
}

function volumeRow(volume: VolumeResource): Row {
  return { Name: volume.Name, Links: String(users(volume)), Size: known(volume.UsageData?.Size) };
}

function buildRow(item: BuildCacheItem): Row {
  return {
    ID: item.ID,
    CacheType: item.Type,
    Size: humanSize(item.Size),
    UsageCount: String(item.UsageCount),
    Shared: String(item.Shared),
  };
}
