import { list, usageError } from '../flags.ts';
import { cut } from './key-values.ts';

const help = 'Only those that match, such as name=web or label=tier=db';
export const filterFlag = list(help, { short: 'f', value: 'KEY=VALUE' });
/** For prune commands, whose `-f` is `--force`. */
export const pruneFilterFlag = list(help, { value: 'KEY=VALUE' });

/** Docker's `--filter KEY=VALUE`, given any number of times, as the API's `filters` parameter. undefined when there is none. */
export function parseFilters(texts: readonly string[]): string | undefined {
  if (texts.length === 0) return undefined;
  const filters: Record<string, string[]> = {};
  for (const text of texts) {
    const [key, value] = cut(text);
    if (value === undefined || key.trim() === '') throw usageError(`invalid filter "${text}"`, 'Filters look like name=web.');
    const name = key.trim().toLowerCase();
    filters[name] = [...(filters[name] ?? []), value.trim()];
  }
  return JSON.stringify(filters);
}
