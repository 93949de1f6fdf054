import type { HistoryEntry } from '../../oci/image.ts';
import type { ImageRecord } from '../../store/port.ts';

export function isFilled(entry: HistoryEntry): boolean {
  return entry.empty_layer !== true;
}

/**
 * What was done stays told, but as many entries may claim a layer as there are layers: readers pair the two by counting. `owners` are the indices of the entries that own one, and
 * `added` says how many layers come after them that no entry stands for; each gets an entry of its own at the end.
 */
export function historyWith(
  image: Pick<ImageRecord, 'history' | 'config'>,
  owners: ReadonlySet<number>,
  added: readonly string[],
): HistoryEntry[] {
  const told = image.history.map(({ empty_layer: _empty, ...entry }, index) =>
    owners.has(index) ? entry : { ...entry, empty_layer: true },
  );
  const { created } = image.config;
  const more = added.map((comment) => ({ ...(created === undefined ? {} : { created }), created_by: 'slipway', comment }));
  return [...told, ...more];
}

/**
 * For layers that do not follow the steps: the lowest belong to the first entries that made files, and the last layer to the last such entry, since what it has is what came last.
 * Layers beyond the number of entries get their own.
 */
export function historyOfLayers(image: Pick<ImageRecord, 'history' | 'config'>, names: readonly string[]): HistoryEntry[] {
  const filled = image.history.flatMap((entry, index) => (isFilled(entry) ? [index] : []));
  // An image none of whose entries made a file has files all the same: they came with it.
  const able = filled.length === 0 && image.history.length > 0 ? [image.history.length - 1] : filled;
  const owned = Math.min(able.length, names.length);
  const owners = new Set(able.slice(0, Math.max(0, owned - 1)));
  const last = able.at(-1);
  if (owned > 0 && last !== undefined) owners.add(last);
  return historyWith(image, owners, names.slice(owned));
}
