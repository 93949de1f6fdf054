import type { ImageDeleteItem } from '../../api-types/image.ts';
import { EngineError } from '../../base/errors.ts';
import { type Context, defineCommand } from '../command.ts';
import { boolean, usageError } from '../flags.ts';
import { humanSum } from '../format/units.ts';
import { parseFilters, pruneFilterFlag } from '../parse/filters.ts';
import { confirm, forceFlag } from './confirm.ts';
import { showDeleted } from './images.ts';

type Kind = 'containers' | 'networks' | 'volumes' | 'images' | 'build';
type Options = { all: boolean; filter: readonly string[] };
type Answer = {
  SpaceReclaimed?: number;
  ContainersDeleted?: string[] | null;
  NetworksDeleted?: string[] | null;
  VolumesDeleted?: string[] | null;
  ImagesDeleted?: ImageDeleteItem[] | null;
  CachesDeleted?: string[] | null;
};

type Pruner = {
  /** What it says it will do. */
  warning(options: Options): string;
  filters(options: Options): readonly string[];
  title: string;
  deleted(answer: Answer): readonly string[];
};

const pruners: Record<Kind, Pruner> = {
  containers: {
    warning: () => 'all stopped containers',
    filters: ({ filter }) => filter,
    title: 'Deleted Containers',
    deleted: ({ ContainersDeleted: ids }) => ids ?? [],
  },
  networks: {
    warning: () => 'all networks that no container uses',
    filters: ({ filter }) => filter,
    title: 'Deleted Networks',
    deleted: ({ NetworksDeleted: names }) => names ?? [],
  },
  volumes: {
    warning: ({ all }) => `${all ? 'all' : 'all anonymous'} volumes that no container uses`,
    filters: ({ filter, all }) => (all ? [...filter, 'all=true'] : filter),
    title: 'Deleted Volumes',
    deleted: ({ VolumesDeleted: names }) => names ?? [],
  },
  images: {
    warning: ({ all }) => (all ? 'all images that no container uses' : 'all images without a name'),
    filters: ({ filter, all }) => [...filter, `dangling=${all ? 'false' : 'true'}`],
    title: 'Deleted Images',
    deleted: ({ ImagesDeleted: items }) => (items ?? []).map(showDeleted),
  },
  build: {
    warning: () => 'build results that nothing needs',
    filters: ({ filter }) => filter,
    title: 'Deleted build cache objects',
    deleted: ({ CachesDeleted: ids }) => ids ?? [],
  },
};

/** Removes one kind, prints what went and answers the bytes. */
async function prune({ client, output }: Context, kind: Kind, options: Options): Promise<number> {
  const pruner = pruners[kind];
  const answer = await client.post<Answer>(`/${kind}/prune`, { query: { filters: parseFilters(pruner.filters(options)) } });
  const deleted = pruner.deleted(answer);
  if (deleted.length > 0) output.write(`${pruner.title}:\n${deleted.map((name) => `${name}\n`).join('')}\n`);
  return answer.SpaceReclaimed ?? 0;
}

async function pruneOne(context: Context, kind: Kind, options: Options & { force: boolean | undefined }): Promise<number> {
  if (!(await confirm(context, `This removes ${pruners[kind].warning(options)}.`, options.force))) return 1;
  const bytes = await prune(context, kind, options);
  // Networks hold no space worth a line.
  if (kind !== 'networks') context.output.line(`Total reclaimed space: ${humanSum(bytes)}`);
  return 0;
}

const flags = { filter: pruneFilterFlag, force: forceFlag };

export const containerPrune = defineCommand({
  summary: 'Remove all stopped containers',
  flags,
  run: (context, { filter, force }) => pruneOne(context, 'containers', { filter, force, all: false }),
});

export const networkPrune = defineCommand({
  summary: 'Remove all networks that no container uses',
  flags,
  run: (context, { filter, force }) => pruneOne(context, 'networks', { filter, force, all: false }),
});

export const volumePrune = defineCommand({
  summary: 'Remove anonymous volumes that no container uses',
  flags: { ...flags, all: boolean('Named ones too', { short: 'a' }) },
  run: (context, { filter, force, all }) => pruneOne(context, 'volumes', { filter, force, all: all === true }),
});

export const imagePrune = defineCommand({
  summary: 'Remove images that no name leads to',
  flags: { ...flags, all: boolean('All that no container uses', { short: 'a' }) },
  run: (context, { filter, force, all }) => pruneOne(context, 'images', { filter, force, all: all === true }),
});

export const systemPrune = defineCommand({
  summary: 'Remove stopped containers, and networks, images and build results that nothing uses',
  flags: {
    ...flags,
    all: boolean('All images that no container uses, not only those without a name', { short: 'a' }),
    volumes: boolean('Anonymous volumes that no container uses too'),
  },
  async run(context, { filter, force, all, volumes }) {
    if (volumes && filter.some((text) => /^until=/i.test(text)))
      throw usageError('--filter until=… does not go with --volumes: nobody knows when a volume was last used');
    const kinds: Kind[] = ['containers', 'networks', ...(volumes ? ['volumes' as const] : []), 'images', 'build'];
    // Named volumes are kept: -a is about images here, as with Docker.
    const optionsOf = (kind: Kind): Options => ({ filter, all: kind === 'images' && all === true });
    const warnings = kinds.map((kind) => `\n  - ${pruners[kind].warning(optionsOf(kind))}`).join('');
    if (!(await confirm(context, `This removes:${warnings}`, force))) return 1;
    let bytes = 0;
    for (const kind of kinds) {
      bytes += await prune(context, kind, optionsOf(kind)).catch((error: unknown) => {
        if (error instanceof EngineError && error.kind === 'Unsupported') return 0;
        throw error;
      });
    }
    context.output.line(`Total reclaimed space: ${humanSum(bytes)}`);
    return 0;
  },
});
