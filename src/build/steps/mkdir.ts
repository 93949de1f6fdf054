import { toBytes } from '../../base/bytes.ts';
import type { Meta, TreeRef } from '../../store/model.ts';
import type { Edit, Store } from '../../store/port.ts';
import type { MkdirOperation } from '../graph/vertex.ts';
import type { Executor, Prepared, StepContext } from '../solver/executor.ts';
import { resolveOwner } from './owner.ts';

/** Edits that make a relative path's directories, each missing one with `meta`. */
export function makeDirectories(path: string, meta: Partial<Meta>): Edit[] {
  const names = path.split('/').filter((name) => name !== '');
  return names.map((_, index) => ({ op: 'mkdir', path: toBytes(names.slice(0, index + 1).join('/')), meta }));
}

/** WORKDIR. */
export class MkdirExecutor implements Executor<MkdirOperation> {
  readonly limit = 'files';
  readonly volatileTimes = false;
  readonly #trees: Store['trees'];

  constructor(options: { store: Pick<Store, 'trees'> }) {
    this.#trees = options.store.trees;
  }

  async prepare(operation: MkdirOperation, context: StepContext): Promise<Prepared> {
    const [base] = context.inputs as [TreeRef];
    // A user that is not there (yet) does not stop WORKDIR; the directory is then root's, as with BuildKit.
    const owner = operation.owner === undefined ? undefined : await resolveOwner(this.#trees, base.id, operation.owner);
    return {
      reads: [
        { what: 'the base', digest: context.identity(base) },
        { what: 'the owner', digest: `${owner?.uid ?? 0}:${owner?.gid ?? 0}` },
      ],
      execute: (running) =>
        this.#trees.edit(base.id, makeDirectories(operation.path, { mode: operation.mode, ...owner }), {
          signal: running.signal,
          lease: running.lease,
        }),
    };
  }
}
