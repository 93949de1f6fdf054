import type { Hex } from '../oci/digest.ts';
import { EntryType, type TreeId } from '../store/model.ts';
import type { TreeContext } from '../store/port.ts';

export type SharedSizesParams = { trees: readonly TreeId[] };
/** Bytes for each of the trees. */
export type SharedSizesResult = number[];

/** Who has seen a thing: one tree's index, or several. */
const several = -1;
type Owners = { directories: Map<Hex, number>; files: Map<Hex, number> };

/**
 * For each tree, the bytes of its files that are in another one, too. A directory that several trees share is walked once to be known and once to
 * be measured, however many they are.
 */
export function sharedSizes(context: TreeContext, { trees }: SharedSizesParams): SharedSizesResult {
  const owners: Owners = { directories: new Map(), files: new Map() };
  const wholes = new Map<Hex, number>();
  const roots = trees.map((tree) => context.root(tree).full);
  for (const [index, root] of roots.entries()) claim(context, root, index, owners);
  return roots.map((root) => sharedBelow(context, root, owners, wholes));
}

/** Marks a directory and all below it as this tree's. Of what another one has already the inside is known. */
function claim(context: TreeContext, directory: Hex, index: number, owners: Owners): void {
  if (!claimOne(owners.directories, directory, index)) return;
  for (const entry of context.node(directory)) {
    if (entry.type === EntryType.directory) claim(context, entry.full, index, owners);
    else if (entry.type === EntryType.file) claimOne(owners.files, entry.object, index);
  }
}

/** True when nobody had it. */
function claimOne(owners: Map<Hex, number>, key: Hex, index: number): boolean {
  const owner = owners.get(key);
  if (owner === undefined) owners.set(key, index);
  else if (owner !== index) owners.set(key, several);
  return owner === undefined;
}

function sharedBelow(context: TreeContext, directory: Hex, owners: Owners, wholes: Map<Hex, number>): number {
  if (owners.directories.get(directory) === several) return wholeSize(context, directory, wholes);
  let sum = 0;
  for (const entry of context.node(directory)) {
    if (entry.type === EntryType.directory) sum += sharedBelow(context, entry.full, owners, wholes);
    else if (entry.type === EntryType.file && owners.files.get(entry.object) === several) sum += entry.size;
  }
  return sum;
}

function wholeSize(context: TreeContext, directory: Hex, wholes: Map<Hex, number>): number {
  const known = wholes.get(directory);
  if (known !== undefined) return known;
  let sum = 0;
  for (const entry of context.node(directory)) {
    if (entry.type === EntryType.directory) sum += wholeSize(context, entry.full, wholes);
    else if (entry.type === EntryType.file) sum += entry.size;
  }
  wholes.set(directory, sum);
  return sum;
}
