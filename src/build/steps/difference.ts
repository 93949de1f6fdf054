import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import type { Entry, TreeId, TreeRef } from '../../store/model.ts';
import type { Store, TreeContext } from '../../store/port.ts';
import { findEntry, isDirectory, sameContent, sameMeta } from '../../store/tree/entries.ts';
import type { DifferenceOperation } from '../graph/vertex.ts';
import type { Executor, Prepared, StepContext } from '../solver/executor.ts';

export type DifferenceParams = { lower: TreeId; upper: TreeId };

/** `build.difference`: subtrees of equal content are not looked into. Names that share an inode in `upper` do so here, as far as they are here. */
export function differenceOfTrees(context: TreeContext, { lower, upper }: DifferenceParams): TreeRef {
  const [below, above] = [context.root(lower), context.root(upper)];
  const digests = context.putNode(changedEntries(context, below.full, above.full));
  const hardlinks = above.hardlinks
    .map((group) => group.filter((path) => isThere(context, digests.full, path)))
    .filter((group) => group.length > 1);
  return context.putRoot({ ...above, ...digests, hardlinks });
}

function changedEntries(context: TreeContext, below: Hex, above: Hex): Entry[] {
  const old = context.node(below);
  const changed: Entry[] = [];
  for (const entry of context.node(above)) {
    const before = findEntry(old, entry.name);
    if (before !== undefined && sameContent(before, entry)) continue;
    if (!isDirectory(entry) || !isDirectory(before)) {
      changed.push(entry);
      continue;
    }
    const inside = changedEntries(context, before.full, entry.full);
    if (inside.length > 0 || !sameMeta(before, entry)) changed.push({ ...entry, ...context.putNode(inside) });
  }
  return changed;
}

function isThere(context: TreeContext, root: Hex, path: ByteString): boolean {
  let directory: Hex | undefined = root;
  for (const name of path.split('/')) {
    if (directory === undefined) return false;
    const entry = findEntry(context.node(directory), name);
    if (entry === undefined) return false;
    directory = isDirectory(entry) ? entry.full : undefined;
  }
  return true;
}

/** What one tree has beyond another. */
export class DifferenceExecutor implements Executor<DifferenceOperation> {
  readonly limit = 'files';
  readonly volatileTimes = false;
  readonly #jobs: Store['jobs'];

  constructor(options: { store: Pick<Store, 'jobs'> }) {
    this.#jobs = options.store.jobs;
  }

  async prepare(_operation: DifferenceOperation, context: StepContext): Promise<Prepared> {
    const [lower, upper] = context.inputs as [TreeRef, TreeRef];
    const params: DifferenceParams = { lower: lower.id, upper: upper.id };
    return {
      reads: [
        { what: 'the lower tree', digest: context.identity(lower) },
        { what: 'the upper tree', digest: context.identity(upper) },
      ],
      execute: ({ signal, lease }) => this.#jobs.run<TreeRef>('build.difference', params, { signal, lease }),
    };
  }
}
