import type { ImageSummary } from '../api-types/image.ts';
import { canonical, familiar, familiarName, isTag, parseReference } from '../oci/reference.ts';
import type { ImageListing } from '../store/port.ts';
import { summarizeImage } from './encode/image.ts';
import { Filters } from './filters.ts';
import type { Query } from './query.ts';
import type { Services } from './services.ts';
import type { SharedSizesParams, SharedSizesResult } from './shared-sizes.ts';

const filterKeys = ['before', 'dangling', 'label', 'reference', 'since', 'until'];

/** GET /images/json. `speaks` says whether the client speaks a version of the API or a newer one. */
export async function listImages(services: Services, query: Query, speaks: (version: string) => boolean): Promise<ImageSummary[]> {
  const filters = withOldFilter(Filters.parse(query, filterKeys), query, speaks);
  const test = await imageTest(services, filters);
  const all = await services.store.images.list();
  const listings = all
    .filter(test)
    .flatMap((listing) => namedAs(filters, listing))
    .toSorted((a, b) => b.record.createdAtMs - a.record.createdAtMs || (a.record.id < b.record.id ? -1 : 1));
  const shared = query.boolean('shared-size') && speaks('1.42') ? await sharedSizes(services, all) : undefined;
  return listings.map((listing) => summarizeImage(listing, { sharedBytes: shared?.get(listing.record.id), speaks }));
}

/** Bytes of files that each of the images has in common with others of them, by image id. Walks the trees, in a worker. */
export async function sharedSizes(
  services: Services,
  listings: readonly ImageListing[],
  options: { signal?: AbortSignal } = {},
): Promise<Map<string, number>> {
  const params: SharedSizesParams = { trees: listings.map(({ record }) => record.tree) };
  const bytes = await services.jobs.run<SharedSizesResult>('api.sharedSizes', params, options);
  return new Map(listings.map(({ record }, index) => [record.id, bytes[index] ?? 0]));
}

/** Before 1.41 `filter` was a pattern for names. */
function withOldFilter(filters: Filters, query: Query, speaks: (version: string) => boolean): Filters {
  const pattern = speaks('1.41') ? undefined : query.string('filter');
  return pattern === undefined ? filters : filters.with('reference', pattern);
}

async function imageTest({ store }: Services, filters: Filters): Promise<(listing: ImageListing) => boolean> {
  const createdAt = (key: string) => Promise.all(filters.get(key).map(async (name) => (await store.images.resolve(name)).createdAtMs));
  const [before, since] = await Promise.all([createdAt('before'), createdAt('since')]);
  const dangling = filters.boolean('dangling');
  const until = filters.untilMs(Date.now());
  return ({ record, references }) =>
    (dangling === undefined || dangling === !references.some(isTag)) &&
    filters.labels(record.config.config?.Labels) &&
    before.every((time) => record.createdAtMs < time) &&
    since.every((time) => record.createdAtMs > time) &&
    record.createdAtMs <= until;
}

/** With a `reference` filter a row shows only the names that were asked for. */
function namedAs(filters: Filters, listing: ImageListing): ImageListing[] {
  if (!filters.has('reference')) return [listing];
  const references = listing.references.filter((reference) => filters.any('reference', (pattern) => matchesReference(pattern, reference)));
  return references.length > 0 ? [{ ...listing, references }] : [];
}

/** `web`, `web:*`, `ghcr.io/acme/*:2`: `*` and `?` do not cross a slash; a pattern without a tag matches every tag. */
export function matchesReference(pattern: string, reference: string): boolean {
  const parsed = parseReference(reference);
  const names = [familiar(parsed), familiarName(parsed), canonical(parsed)];
  return names.some((name) => matchesGlob(pattern, name));
}

/** Go's path.Match without classes, in time linear in the product of the lengths: `*` falls back to the last star only. */
function matchesGlob(pattern: string, text: string): boolean {
  let at = 0;
  let position = 0;
  let star = -1;
  let resumed = 0;
  while (position < text.length) {
    const wanted = pattern[at];
    const found = text[position];
    if (wanted !== '*' && (wanted === found || (wanted === '?' && found !== '/'))) {
      at += 1;
      position += 1;
    } else if (wanted === '*') {
      star = at;
      resumed = position;
      at += 1;
    } else if (star >= 0 && text[resumed] !== '/') {
      resumed += 1;
      position = resumed;
      at = star + 1;
    } else {
      return false;
    }
  }
  while (pattern[at] === '*') at += 1;
  return at === pattern.length;
}
