import type { TreeRef } from '../../store/model.ts';
import type { Store } from '../../store/port.ts';
import type { MergeOperation } from '../graph/vertex.ts';
import type { Executor, Prepared, StepContext } from '../solver/executor.ts';

/** Trees that were made side by side, as one. No file is touched. */
export class MergeExecutor implements Executor<MergeOperation> {
  readonly limit = 'files';
  readonly volatileTimes = false;
  readonly #trees: Store['trees'];

  constructor(options: { store: Pick<Store, 'trees'> }) {
    this.#trees = options.store.trees;
  }

  async prepare(_operation: MergeOperation, context: StepContext): Promise<Prepared> {
    const [first, ...others] = context.inputs as [TreeRef, ...TreeRef[]];
    return {
      reads: context.inputs.map((tree, index) => ({
        what: context.inputNames[index] ?? `tree ${index + 1}`,
        digest: context.identity(tree),
      })),
      execute: async ({ signal, lease }) => {
        let merged = first;
        for (const tree of others) merged = await this.#trees.merge(merged.id, tree.id, { signal, lease });
        return merged;
      },
    };
  }
}
