import { nearest } from '../base/nearest.ts';
import { defaultPolicy, type GcPolicy, type Mark } from '../gc/policy.ts';
import { type Given, isTable, type Lookup, unknown } from './config-sources.ts';
import { invalid, list, size } from './config-values.ts';

type Table = { readonly given: Given; readonly name: string; readonly values: Record<string, unknown> };

/** `[gc]` of the file. CONFIG_INVALID names the key and says the rule. */
export function gcPolicy(lookup: Lookup): GcPolicy {
  const given = lookup('gc');
  if (given === undefined) return defaultPolicy;
  const top = tableOf(given, 'gc', given.value, ['high', 'low', 'share', 'min-age', 'images', 'build-cache', 'containers', 'volumes']);
  const inner = (name: string, keys: readonly string[]): Table => tableOf(given, `gc.${name}`, top.values[name] ?? {}, keys);
  const images = inner('images', ['keep-last', 'keep-used-within', 'keep', 'keep-labels']);
  const buildCache = inner('build-cache', ['keep-used-within']);
  const containers = inner('containers', ['ended-for']);
  const volumes = inner('volumes', ['unused-for']);
  const defaults = defaultPolicy;
  const policy: GcPolicy = {
    high: mark(top, 'high') ?? defaults.high,
    low: mark(top, 'low') ?? defaults.low,
    share: share(top, 'share') ?? defaults.share,
    minAgeMs: time(top, 'min-age') ?? defaults.minAgeMs,
    images: {
      keepLast: count(images, 'keep-last') ?? defaults.images.keepLast,
      keepUsedWithinMs: time(images, 'keep-used-within') ?? defaults.images.keepUsedWithinMs,
      keep: texts(images, 'keep'),
      keepLabels: texts(images, 'keep-labels'),
    },
    buildCache: {
      keepUsedWithinMs: time(buildCache, 'keep-used-within') ?? defaults.buildCache.keepUsedWithinMs,
    },
    containers: { endedForMs: time(containers, 'ended-for') },
    volumes: { unusedForMs: time(volumes, 'unused-for') },
  };
  const { high, low } = policy;
  if (low.share > high.share)
    throw invalid(given, 'gc.low', `collecting ends at ${percent(low)} and would begin at ${percent(high)}: low must not be above high`);
  if (low.freeBytes < high.freeBytes)
    throw invalid(
      given,
      'gc.low',
      `collecting ends with ${low.freeBytes} bytes free and would begin with ${high.freeBytes}: low must leave as much free as high`,
    );
  return policy;
}

function tableOf(given: Given, name: string, values: unknown, keys: readonly string[]): Table {
  if (!isTable(values)) throw invalid(given, name, `it must be a table: [${name}]`);
  const other = Object.keys(values).find((key) => !keys.includes(key));
  if (other === undefined) return { given, name, values };
  const near = nearest(other, keys);
  throw unknown(`key in ${given.from}`, `${name}.${other}`, near === undefined ? `There are ${keys.join(', ')}.` : `Did you mean ${near}?`);
}

function refused({ given, name, values }: Table, key: string, what: string): Error {
  return invalid(given, `${name}.${key}`, `${JSON.stringify(values[key])} is not ${what}`);
}

const unitsMs: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

/** `90s`, `30m`, `12h`, `7d`, `2w`, or 0. */
function time(table: Table, key: string): number | undefined {
  const value = table.values[key];
  if (value === undefined) return undefined;
  if (value === 0 || value === '0') return 0;
  const [, number, unit = ''] = /^(\d{1,6})([smhdw])$/.exec(String(value)) ?? [];
  if (number === undefined) throw refused(table, key, 'a time such as 90s, 30m, 12h, 7d or 2w');
  return Number(number) * (unitsMs[unit] ?? 0);
}

function count(table: Table, key: string): number | undefined {
  const value = table.values[key];
  if (value === undefined) return undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 1_000_000) return value;
  throw refused(table, key, 'a whole number');
}

/** `85%`. */
function share(table: Table, key: string): number | undefined {
  const value = table.values[key];
  if (value === undefined) return undefined;
  const [, number] = /^(\d{1,3}(?:\.\d+)?)%$/.exec(String(value)) ?? [];
  if (number === undefined || Number(number) > 100 || Number(number) === 0) throw refused(table, key, 'a share such as 30%');
  return Number(number) / 100;
}

/** `85%` full, `20g` free, or both: `85% 20g`. */
function mark(table: Table, key: string): Mark | undefined {
  const value = table.values[key];
  if (value === undefined) return undefined;
  let found: Mark = { share: 1, freeBytes: 0 };
  for (const part of String(value)
    .trim()
    .split(/[\s,]+/)) {
    const one: Table = { ...table, values: { [key]: part } };
    if (part.endsWith('%')) found = { ...found, share: share(one, key) ?? 1 };
    else if (/^\d+[kmgt]?b?$/i.test(part)) found = { ...found, freeBytes: sizeOf(one, key) ?? 0 };
    else throw refused(table, key, 'a mark such as 85% (full), 20g (free) or both');
  }
  return found;
}

function sizeOf(table: Table, key: string): number | undefined {
  const value = table.values[key];
  return value === undefined ? undefined : size({ value: value as Given['value'], from: table.given.from }, `${table.name}.${key}`);
}

function texts(table: Table, key: string): readonly string[] {
  const value = table.values[key];
  return value === undefined ? [] : list({ value: value as Given['value'], from: table.given.from }, `${table.name}.${key}`);
}

function percent({ share: part }: Mark): string {
  return `${Math.round(part * 100)}%`;
}
