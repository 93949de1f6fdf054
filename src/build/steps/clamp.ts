import type { Hex } from '../../oci/digest.ts';
import type { Entry, Meta, TreeId, TreeRef } from '../../store/model.ts';
import type { Store, TreeContext } from '../../store/port.ts';
import { isDirectory } from '../../store/tree/entries.ts';
import type { ClampOperation } from '../graph/vertex.ts';
import type { Executor, Prepared, StepContext } from '../solver/executor.ts';

export type ClampTimesParams = { tree: TreeId; epochSeconds: number };

/** `build.clampTimes`: the tree without any time later than the epoch. Directories without one are taken as they are. */
export function clampTimes(context: TreeContext, { tree, epochSeconds }: ClampTimesParams): TreeRef {
  const done = new Map<Hex, Hex>();
  const meta = <T extends Meta>(item: T): T =>
    item.mtimeSec > epochSeconds || (item.mtimeSec === epochSeconds && item.mtimeNsec > 0)
      ? { ...item, mtimeSec: epochSeconds, mtimeNsec: 0 }
      : item;
  const node = (full: Hex): Hex => {
    const known = done.get(full);
    if (known !== undefined) return known;
    const entries = context.node(full);
    const changed = entries.map((entry): Entry => {
      const clamped = meta(entry);
      if (!isDirectory(clamped)) return clamped;
      const below = node(clamped.full);
      return below === clamped.full ? clamped : { ...clamped, full: below };
    });
    const result = changed.every((entry, index) => entry === entries[index]) ? full : context.putNode(changed).full;
    done.set(full, result);
    return result;
  };
  const root = context.root(tree);
  return context.putRoot({ ...meta(root), full: node(root.full) });
}

export class ClampExecutor implements Executor<ClampOperation> {
  readonly limit = 'files';
  readonly volatileTimes = false;
  readonly exactTimes = true;
  readonly #jobs: Store['jobs'];

  constructor(options: { store: Pick<Store, 'jobs'> }) {
    this.#jobs = options.store.jobs;
  }

  async prepare(operation: ClampOperation, context: StepContext): Promise<Prepared> {
    const [base] = context.inputs as [TreeRef];
    const params: ClampTimesParams = { tree: base.id, epochSeconds: operation.epochSeconds };
    return {
      // Times are what it changes, so they count.
      reads: [{ what: 'the base', digest: base.id }],
      execute: ({ signal, lease }) => this.#jobs.run<TreeRef>('build.clampTimes', params, { signal, lease }),
    };
  }
}
