import type { CopyBody, CopyLine, SearchResult, TagsAnswer } from '../../api-types/registry.ts';
import { canonical, parseReference, repositoryOf, withDefaultTag } from '../../oci/reference.ts';
import { readToResult } from '../client/lines.ts';
import { defineCommand } from '../command.ts';
import { boolean, integer, text, usageError } from '../flags.ts';
import { formatFlag, printListing } from '../format/listing.ts';
import { ellipsis, humanSize } from '../format/units.ts';
import { filterFlag, parseFilters } from '../parse/filters.ts';
import { layersFlag, layersQuery } from '../parse/layers.ts';
import { authHeader, authsHeader } from '../registry/headers.ts';
import { transferView } from '../transfer/progress.ts';
import { fullName, pullImage } from '../transfer/pull.ts';
import { pushImage, tellPushed } from '../transfer/push.ts';
import { cancellable } from '../transfer/stream.ts';

const contentTrust = boolean('As Docker’s: signatures of that kind are not checked');
const quietFlag = boolean('Print only the name', { short: 'q' });

function checkContentTrust(value: boolean | undefined): void {
  if (value === false) throw usageError('--disable-content-trust=false asks for signed images, and this version does not check signatures');
}

export const pull = defineCommand({
  args: '<NAME[:TAG|@DIGEST]>',
  summary: 'Bring an image from a registry',
  examples: [
    ['pull registry.example/team/web:2', 'only what is not here yet'],
    ['pull --format oci registry.example/team/web:2', 'its ordinary layers, even where the chunked form is offered'],
  ],
  flags: {
    'all-tags': boolean('Every tag of the repository', { short: 'a' }),
    'disable-content-trust': contentTrust,
    format: text('auto (chunked where it is offered) or oci', { value: 'FORM' }),
    platform: text('Platform, of an image for several', { value: 'OS/ARCH' }),
    quiet: quietFlag,
  },
  async run(context, flags, [name = '']) {
    checkContentTrust(flags['disable-content-trust']);
    const given = parseReference(name);
    const allTags = flags['all-tags'] === true;
    if (allTags && (given.tag !== undefined || given.digest !== undefined)) throw usageError("tag can't be used with --all-tags/-a");
    if (!allTags && !flags.quiet && given.tag === undefined && given.digest === undefined)
      context.output.error('Using default tag: latest\n');
    const reference = allTags ? given : withDefaultTag(given);
    const { platform, format: form, quiet } = flags;
    const bytes = await pullImage(context, reference, { platform, form, allTags, quiet });
    if (!quiet) context.output.error(`Received ${humanSize(bytes)}\n`);
    context.output.line(fullName(reference));
  },
});

export const push = defineCommand({
  args: '<NAME[:TAG]>',
  summary: 'Bring an image to a registry',
  description:
    'What was pulled or pushed before goes out byte for byte, with its digest, unless --layers, --compression or --format ask for something else. Any other image is pushed in both forms: ordinary ' +
    'layers, which every engine pulls, and beside them the chunked form, of which Slipway fetches only what changed.',
  examples: [
    ['push registry.example/team/web:2', 'only what the registry lacks'],
    ['push --explain registry.example/team/web:2', 'which layers it would have, and why'],
    ['push --layers modules=app/node_modules --layers app=app registry.example/team/web:2', 'three layers: modules, app, and the rest'],
  ],
  flags: {
    'all-tags': boolean('Every tag of the repository that is here', { short: 'a' }),
    compression: text('Of new layers: gzip or zstd, which Docker before 23 cannot read', { value: 'KIND' }),
    'disable-content-trust': contentTrust,
    explain: boolean('Say which layers it would have and why, and push nothing'),
    format: text('both, oci (ordinary layers only) or chunked (for Slipway only)', { value: 'FORM' }),
    layers: layersFlag,
    platform: text('Platform that the image must have', { value: 'OS/ARCH' }),
    quiet: quietFlag,
  },
  async run(context, flags, [name = '']) {
    checkContentTrust(flags['disable-content-trust']);
    const given = parseReference(name);
    if (given.digest !== undefined) throw usageError('cannot push a digest reference');
    const allTags = flags['all-tags'] === true;
    if (allTags && given.tag !== undefined) throw usageError('tag can’t be used with --all-tags/-a');
    const reference = allTags ? given : withDefaultTag(given);
    if (!allTags && !flags.quiet && given.tag === undefined) context.output.error('Using default tag: latest\n');
    const { explain, format, compression, quiet } = flags;
    const layers = layersQuery(flags.layers);
    const pushed = await pushImage(context, reference, {
      format,
      layers,
      compression,
      explain,
      quiet,
      platform: platformJson(flags.platform),
    });
    if (explain) for (const { Explanation = [] } of pushed) for (const line of Explanation) context.output.line(line);
    else for (const each of pushed) context.output.line(tellPushed(context, reference, each, quiet === true));
  },
});

/** The API takes it as JSON. */
function platformJson(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  const [os, architecture, variant] = given.split('/');
  if (os === undefined || architecture === undefined) throw usageError(`invalid platform "${given}"`, 'Give it as linux/amd64.');
  return JSON.stringify({ os, architecture, ...(variant === undefined ? {} : { variant }) });
}

export const tags = defineCommand({
  args: '<NAME>',
  summary: 'List the tags of a repository in its registry',
  flags: {},
  async run(context, _flags, [name = '']) {
    const reference = parseReference(name);
    const { tags: found } = await context.client.json<TagsAnswer>('GET', '/slipway/tags', {
      query: { name: repositoryOf(reference) },
      headers: authHeader(context, reference),
    });
    for (const tag of found) context.output.line(tag);
  },
});

export const copy = defineCommand({
  args: '<FROM> <TO>',
  summary: 'Copy an image from registry to registry',
  description: 'Byte for byte, so that digests and signatures hold; through the daemon’s memory, and nothing is kept here.',
  examples: [['copy docker.io/library/debian:bookworm registry.example/mirror/debian:bookworm', 'all platforms, with signatures']],
  flags: {
    platform: text('Only this one of an image for several', { value: 'OS/ARCH' }),
    quiet: quietFlag,
    referrers: boolean('Signatures and attestations go along (default true)', { negatable: true }),
  },
  async run(context, flags, [from = '', to = '']) {
    const [source, target] = [withDefaultTag(parseReference(from)), withDefaultTag(parseReference(to))];
    const body: CopyBody = { from: canonical(source), to: canonical(target), platform: flags.platform, referrers: flags.referrers };
    const view = transferView(context, flags.quiet === true);
    let result: CopyLine & { kind: 'result' };
    {
      using cancel = cancellable(view);
      const headers = authsHeader(context, [source, target]);
      const response = await context.client.call('POST', '/slipway/copy', { json: body, headers, signal: cancel.signal });
      result = await readToResult<CopyLine & { kind: 'progress' }, CopyLine & { kind: 'result' }>(
        response,
        ({ id, status, current, total }) =>
          view.step({
            status,
            ...(id === undefined ? {} : { id }),
            ...(current === undefined ? {} : { progressDetail: { current, ...(total === undefined ? {} : { total }) } }),
          }),
      );
    }
    if (!flags.quiet) context.output.error(`Sent ${humanSize(result.bytesSent)}\n`);
    context.output.line(`${repositoryOf(target)}@${result.digest}`);
  },
});

export const search = defineCommand({
  args: '<TERM>',
  summary: 'Search Docker Hub for images',
  flags: {
    filter: filterFlag,
    format: formatFlag,
    limit: integer('Most rows', { value: 'N' }),
    'no-trunc': boolean('Show descriptions in full'),
  },
  async run(context, flags, [term = '']) {
    const slash = term.indexOf('/');
    const first = slash < 0 ? '' : term.slice(0, slash);
    const domain = /[.:]/.test(first) || first === 'localhost' ? first : 'docker.io';
    const found = await context.client.json<SearchResult[]>('GET', '/images/search', {
      query: { term, limit: flags.limit, filters: parseFilters(flags.filter) },
      headers: authHeader(context, { domain }),
    });
    const rows = found.map((row) => ({
      Name: row.name,
      Description: flags['no-trunc'] ? row.description : ellipsis(row.description.replace(/\s+/g, ' '), 45),
      StarCount: String(row.star_count),
      IsOfficial: row.is_official ? '[OK]' : '',
    }));
    const titles = { StarCount: 'STARS', IsOfficial: 'OFFICIAL' };
    printListing(context.output, rows, { table: ['Name', 'Description', 'StarCount', 'IsOfficial'], titles, quiet: 'Name' }, flags);
  },
});
