import { toBytes } from '../../base/bytes.ts';
import type { Store } from '../../store/port.ts';
import type { InlineOperation } from '../graph/vertex.ts';
import type { Executor, Prepared } from '../solver/executor.ts';

/** Files written in the definition. The operation itself is all that they depend on. */
export class InlineExecutor implements Executor<InlineOperation> {
  readonly limit = 'files';
  readonly volatileTimes = false;
  readonly #trees: Store['trees'];

  constructor(options: { store: Pick<Store, 'trees'> }) {
    this.#trees = options.store.trees;
  }

  async prepare(operation: InlineOperation): Promise<Prepared> {
    return {
      reads: [],
      execute: ({ signal, lease }) =>
        this.#trees.edit(
          this.#trees.empty.id,
          operation.files.map(({ path, text, mode }) => ({
            op: 'file',
            path: toBytes(path.replace(/^\/+/, '')),
            data: Buffer.from(text, 'utf8'),
            meta: { mode },
          })),
          { signal, lease },
        ),
    };
  }
}
