import { posix } from 'node:path';
import { toBytes, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { EntryType, type TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import { type ContextPath, type ContextSource, type ContextTree, textLimit } from './build-context.ts';
import type { FilterContextParams } from './filter.ts';

/** A context that is a tree already, or becomes one from an archive. */
export class TreeContextSource implements ContextSource {
  readonly #tree: Promise<TreeRef>;
  readonly #store: Pick<Store, 'trees' | 'jobs'>;
  readonly #lease: Lease;
  readonly #adopt: boolean;

  constructor(options: { tree: Promise<TreeRef>; store: Pick<Store, 'trees' | 'jobs'>; lease: Lease; adopt: boolean }) {
    this.#tree = options.tree;
    this.#tree.catch(() => undefined);
    this.#store = options.store;
    this.#lease = options.lease;
    this.#adopt = options.adopt;
  }

  async readText(path: string): Promise<string | undefined> {
    const { id } = await this.#tree;
    const bytes = toBytes(relative(path));
    const entry = await this.#store.trees.lookup(id, bytes, { follow: true });
    if (entry === undefined) return undefined;
    if (entry.type !== EntryType.file) {
      throw new EngineError('InvalidArgument', 'CONTEXT_FILE_INVALID', `${path} in the build context is not a file`);
    }
    return (await this.#store.trees.readFile(id, bytes, { limit: textLimit })).toString('utf8');
  }

  async siblings(path: string): Promise<readonly string[]> {
    const { id } = await this.#tree;
    const entries = await this.#store.trees.list(id, toBytes(relative(posix.dirname(posix.join('/', path))))).catch(() => []);
    return entries.map((entry) => toText(entry.name));
  }

  /** The sender has applied .dockerignore already; what is not in the tree was not sent. */
  exists(): boolean {
    return false;
  }

  async tree(_paths: readonly ContextPath[], options: { ignore: readonly string[]; signal: AbortSignal }): Promise<ContextTree> {
    let tree = await this.#tree;
    if (options.ignore.length > 0) {
      const params: FilterContextParams = { tree: tree.id, ignore: [...options.ignore] };
      tree = await this.#store.jobs.run<TreeRef>('build.filterContext', params, { signal: options.signal, lease: this.#lease });
    }
    const equal = this.#adopt ? await this.#store.trees.findByContent(tree.content) : undefined;
    if (equal !== undefined && (await this.#lease.tryAdd(equal.id))) return { tree: equal };
    await this.#lease.add('tree', tree.id);
    return { tree };
  }
}

function relative(path: string): string {
  return posix.join('/', path).replace(/^\/+/, '');
}
