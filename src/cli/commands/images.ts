import type { ImageDeleteItem, ImageHistoryItem, ImageSummary } from '../../api-types/image.ts';
import { EngineError } from '../../base/errors.ts';
import { familiarName, parseReference, withDefaultTag } from '../../oci/reference.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { boolean } from '../flags.ts';
import { formatFlag, printListing, type Row } from '../format/listing.ts';
import { ellipsis, goTime, humanAge, humanSize, shortId } from '../format/units.ts';
import { filterFlag, parseFilters } from '../parse/filters.ts';
import { eachName } from './each.ts';

export const images = defineCommand({
  args: '[REPOSITORY[:TAG]]',
  summary: 'List images',
  flags: {
    all: boolean('As Docker’s: every image is shown anyway', { short: 'a' }),
    digests: boolean('Show digests'),
    filter: filterFlag,
    format: formatFlag,
    'no-trunc': boolean('Show IDs in full'),
    quiet: boolean('Only IDs', { short: 'q' }),
  },
  async run({ client, output }, flags, [reference]) {
    const filters = reference === undefined ? flags.filter : [...flags.filter, `reference=${reference}`];
    const summaries = await client.get<ImageSummary[]>('/images/json', { all: flags.all ? 1 : undefined, filters: parseFilters(filters) });
    const now = Date.now();
    const rows = summaries.flatMap((image) => toRows(image, { now, full: flags['no-trunc'] === true }));
    const table = ['Repository', 'Tag', ...(flags.digests ? ['Digest'] : []), 'ID', 'CreatedSince', 'Size'];
    const distinct = flags.quiet ? rows.filter((row, at) => rows.findIndex((other) => other.ID === row.ID) === at) : rows;
    printListing(output, distinct, { table, titles: imageTitles, quiet: 'ID' }, flags);
  },
});

const imageTitles = { ID: 'IMAGE ID', CreatedSince: 'CREATED', CreatedAt: 'CREATED AT' };

/** One row a name; one a repository where only digests are left of it; an image without any has one with `<none>`. */
function toRows(image: ImageSummary, { now, full }: { now: number; full: boolean }): Row[] {
  const tags = image.RepoTags.filter((tag) => tag !== '<none>:<none>');
  const digestOf = new Map(image.RepoDigests.map((name) => name.split('@') as [string, string]));
  const untagged = digestOf.size === 0 ? ['<none>:<none>'] : [...digestOf.keys()].map((repository) => `${repository}:<none>`);
  return (tags.length === 0 ? untagged : tags).map((name) => {
    const colon = name.lastIndexOf(':');
    const repository = name.slice(0, colon);
    return {
      ID: full ? image.Id : shortId(image.Id),
      Repository: repository,
      Tag: name.slice(colon + 1),
      Digest: digestOf.get(repository) ?? '<none>',
      CreatedSince: humanAge(image.Created * 1000, now),
      CreatedAt: goTime(image.Created * 1000),
      Size: humanSize(image.Size),
      Containers: image.Containers < 0 ? 'N/A' : String(image.Containers),
    };
  });
}

export const tag = defineCommand({
  args: '<IMAGE> <NAME[:TAG]>',
  summary: 'Give an image another name',
  flags: {},
  async run({ client }, _flags, [image = '', name = '']) {
    const reference = withDefaultTag(parseReference(name));
    await client.post(route`/images/${image}/tag`, { query: { repo: familiarName(reference), tag: reference.tag } });
  },
});

export const rmi = defineCommand({
  args: '<IMAGE...>',
  summary: 'Remove images, or names of images',
  flags: {
    force: boolean('Also when stopped containers use it; a missing one is no error', { short: 'f' }),
    'no-prune': boolean('As Docker’s: there are no parent images here'),
  },
  run: (context, { force, 'no-prune': noPrune }, names) =>
    eachName(
      context,
      names,
      async (name) => {
        try {
          const items = await context.client.delete<ImageDeleteItem[]>(route`/images/${name}`, { force, noprune: noPrune });
          for (const item of items) context.output.line(showDeleted(item));
        } catch (error) {
          if (!(force && error instanceof EngineError && error.kind === 'NotFound')) throw error;
        }
      },
      { quiet: true },
    ),
});

export function showDeleted(item: ImageDeleteItem): string {
  return 'Untagged' in item ? `Untagged: ${item.Untagged}` : `Deleted: ${item.Deleted}`;
}

export const history = defineCommand({
  args: '<IMAGE>',
  summary: 'Show the steps that made an image',
  flags: {
    format: formatFlag,
    human: boolean('Sizes and times for people (default true)', { short: 'H' }),
    'no-trunc': boolean('Show everything in full'),
    quiet: boolean('Only IDs', { short: 'q' }),
  },
  async run({ client, output }, flags, [image = '']) {
    const items = await client.get<ImageHistoryItem[]>(route`/images/${image}/history`);
    const now = Date.now();
    const full = flags['no-trunc'] === true;
    const human = flags.human !== false;
    const rows = items.map((item) => ({
      ID: full || item.Id === '<missing>' ? item.Id : shortId(item.Id),
      CreatedSince: human ? humanAge(item.Created * 1000, now) : new Date(item.Created * 1000).toISOString(),
      CreatedAt: new Date(item.Created * 1000).toISOString(),
      CreatedBy: full ? item.CreatedBy : ellipsis(item.CreatedBy, 45),
      Size: human ? humanSize(item.Size) : String(item.Size),
      Comment: item.Comment,
    }));
    const titles = { ID: 'IMAGE', CreatedSince: 'CREATED', CreatedAt: 'CREATED AT', CreatedBy: 'CREATED BY' };
    printListing(output, rows, { table: ['ID', 'CreatedSince', 'CreatedBy', 'Size', 'Comment'], titles, quiet: 'ID' }, flags);
  },
});
