import { join } from 'node:path';
import type { TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { Archives } from '../../transport/port.ts';
import type { GitOperation, HttpOperation, Vertex } from '../graph/vertex.ts';
import type { BuildEvent } from '../port.ts';
import type { SecretProviders } from '../secrets.ts';
import { GitSource } from './git-source.ts';
import { HttpSource, type SourceTree } from './http-source.ts';

export type FetchOptions = {
  readonly signal: AbortSignal;
  readonly lease: Lease;
  readonly providers: SecretProviders;
  readonly onEvent: (event: BuildEvent) => void;
  /** Told what it is that was fetched. */
  readonly onDigest?: ((digest: SourceTree['digest']) => void) | undefined;
};

/** Everything that builds fetch but images. Each URL is pinned once a build; what has not changed is not downloaded again. */
export class Sources {
  readonly #http: HttpSource;
  readonly #git: GitSource;

  constructor(options: { store: Store; archives: Pick<Archives, 'untar'>; directory: string; httpLimitBytes?: number | undefined }) {
    const { store, archives, directory, httpLimitBytes } = options;
    this.#http = new HttpSource({ store, archives, directory: join(directory, 'http'), limitBytes: httpLimitBytes });
    this.#git = new GitSource({ store });
  }

  async fetch(vertex: Vertex, operation: HttpOperation | GitOperation, options: FetchOptions): Promise<TreeRef> {
    const startedAt = performance.now();
    const emit = (state: 'running' | 'cached' | 'done' | 'error', more: { error?: string; detail?: Record<string, number> } = {}) =>
      options.onEvent({ kind: 'vertex', vertex: vertex.id, name: vertex.name, state, durationMs: performance.now() - startedAt, ...more });
    emit('running');
    try {
      const { tree, fetched, bytes, digest } = await this.#tree(operation, options);
      options.onDigest?.(digest);
      await options.lease.add('tree', tree.id);
      emit(fetched ? 'done' : 'cached', bytes === undefined ? {} : { detail: { bytes } });
      return tree;
    } catch (error) {
      emit('error', { error: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  #tree(operation: HttpOperation | GitOperation, options: FetchOptions): Promise<SourceTree> {
    return operation.kind === 'http' ? this.#http.tree(operation, options) : this.#git.tree(operation, options);
  }
}
