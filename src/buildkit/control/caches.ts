import { parseCacheExport, parseCacheImport } from '../../build/cache/port.ts';
import type { CacheExport, CacheLocation } from '../../build/port.ts';

type Entry = { readonly Type: string; readonly Attrs: Readonly<Record<string, string>> };
type Read<T> = { readonly caches: readonly T[]; readonly warnings: readonly string[] };

/** What a client wants read: the frontend's options `cache-imports` (JSON), and `cache-from` of older clients (references). What cannot be served is a warning, as a cache that is not there is. */
export function cacheImportsOf(attrs: Readonly<Record<string, string>>): Read<CacheLocation> {
  const older = (attrs['cache-from'] ?? '').split(',').filter((ref) => ref !== '');
  const entries = [...older.map((ref) => ({ Type: 'registry', Attrs: { ref } })), ...parseEntries(attrs['cache-imports'])];
  return readAll(entries, 'is not read', parseCacheImport);
}

/** What a client wants written. */
export function cacheExportsOf(entries: readonly Entry[]): Read<CacheExport> {
  return readAll(entries, 'is not written', parseCacheExport);
}

function readAll<T>(entries: readonly Entry[], outcome: string, parse: (attributes: Record<string, string>) => T): Read<T> {
  const caches: T[] = [];
  const warnings: string[] = [];
  for (const { Type, Attrs } of entries) {
    try {
      caches.push(parse({ ...Attrs, type: Type }));
    } catch (error) {
      warnings.push(`the cache of the type ${Type.slice(0, 50)} ${outcome}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { caches, warnings };
}

function parseEntries(text: string | undefined): Entry[] {
  if (text === undefined || text === '') return [];
  try {
    const json: unknown = JSON.parse(text);
    return Array.isArray(json) ? json.filter(isEntry) : [];
  } catch {
    return [];
  }
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== 'object' || value === null || !('Type' in value) || typeof value.Type !== 'string') return false;
  if (!('Attrs' in value) || typeof value.Attrs !== 'object' || value.Attrs === null) return false;
  return Object.values(value.Attrs).every((each) => typeof each === 'string');
}
