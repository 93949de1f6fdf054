import type { BuildCacheAnswer } from '../../api-types/build.ts';
import type { Context } from '../command.ts';
import { openInput, writeOutput } from '../files.ts';
import { usageError } from '../flags.ts';
import { printListing } from '../format/listing.ts';
import { humanAge, humanSize } from '../format/units.ts';
import { eachName } from './each.ts';

type Options = { format?: string | undefined; quiet?: boolean | undefined };

/** `slipway build caches ls|rm|export|import`: the caches of `RUN --mount=type=cache`. */
export async function buildCaches(context: Context, options: Options, [verb = 'ls', ...names]: readonly string[]): Promise<number> {
  if (verb === 'ls' && names.length === 0) return listCaches(context, options);
  if (verb === 'rm' && names.length > 0) return removeCaches(context, names);
  const [name, file, more] = names;
  if (verb === 'export' && name !== undefined && more === undefined) return exportCache(context, name, file);
  if (verb === 'import' && name !== undefined && more === undefined) return importCache(context, name, file ?? '-');
  throw usageError(
    '"slipway build caches" takes ls, rm NAME…, export NAME [FILE] or import ID [FILE]',
    'A name is an id, a key or the beginning of one: "slipway build caches ls" lists them.',
  );
}

async function listCaches({ client, output }: Context, options: Options): Promise<number> {
  const caches = await client.get<BuildCacheAnswer[]>('/slipway/build-caches');
  const nowMs = Date.now();
  const rows = caches.map((cache) => ({
    Key: cache.key.slice(0, 12),
    ID: cache.id,
    Platform: cache.platform,
    Sharing: cache.sharing,
    Size: humanSize(cache.sizeBytes),
    Files: String(cache.files),
    Uses: String(cache.uses),
    Used: humanAge(cache.lastUsedAtMs, nowMs),
    InUse: String(cache.inUse),
  }));
  const columns = {
    table: ['Key', 'ID', 'Platform', 'Sharing', 'Size', 'Files', 'Uses', 'Used'],
    titles: { Used: 'LAST USED' },
    quiet: 'Key',
  };
  printListing(output, rows, columns, options);
  return 0;
}

function removeCaches(context: Context, names: readonly string[]): Promise<number> {
  return eachName(context, names, (name) => context.client.delete('/slipway/build-caches', { name }));
}

async function exportCache(context: Context, name: string, file: string | undefined): Promise<number> {
  const response = await context.client.call('GET', '/slipway/build-caches/archive', { query: { name } });
  await writeOutput(context, file, response.body());
  return 0;
}

async function importCache({ client, output }: Context, id: string, file: string): Promise<number> {
  const headers = { 'Content-Type': 'application/x-tar' };
  const cache = await client.json<BuildCacheAnswer>('PUT', '/slipway/build-caches/archive', {
    query: { id },
    headers,
    body: openInput(file),
  });
  output.line(`${cache.id}: ${cache.files} files, ${humanSize(cache.sizeBytes)}`);
  return 0;
}
