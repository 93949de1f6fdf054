import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { O, openIn } from '../../kernel/files.ts';
import { sha256 } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { BuildMemory } from '../solver/memory.ts';
import { type ContextPath, type ContextSource, type ContextTree, textLimit } from './build-context.ts';
import { selectPaths } from './select.ts';

/** A folder that the daemon sees: read in place, with a stat cache of its own. */
export class DirectoryContext implements ContextSource {
  readonly #path: string;
  readonly #store: Pick<Store, 'trees'>;
  readonly #memory: BuildMemory;
  readonly #lease: Lease;
  readonly #adopt: boolean;

  constructor(options: { path: string; store: Pick<Store, 'trees'>; memory: BuildMemory; lease: Lease; adopt: boolean }) {
    this.#path = options.path;
    this.#store = options.store;
    this.#memory = options.memory;
    this.#lease = options.lease;
    this.#adopt = options.adopt;
  }

  async readText(path: string): Promise<string | undefined> {
    let root: number;
    try {
      root = openSync(this.#path, O.PATH | O.DIRECTORY);
    } catch (cause) {
      throw new EngineError('InvalidArgument', 'CONTEXT_UNREADABLE', `the build context ${this.#path} cannot be read`, {
        hint: 'Give a directory that exists.',
        cause,
      });
    }
    try {
      // Symlinks of the context stay inside it, whoever made them.
      const file = openIn(root, path, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const stat = fstatSync(file);
        if (!stat.isFile() || stat.size > textLimit) {
          throw new EngineError(
            'InvalidArgument',
            'CONTEXT_FILE_INVALID',
            `${path} in the build context is not a file of at most ${textLimit} bytes`,
          );
        }
        return readFileSync(file, 'utf8');
      } finally {
        closeSync(file);
      }
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    } finally {
      closeSync(root);
    }
  }

  async siblings(path: string): Promise<readonly string[]> {
    return readdir(join(this.#path, posix.dirname(posix.join('/', path)))).catch(() => []);
  }

  exists(path: string): boolean {
    try {
      lstatSync(join(this.#path, posix.join('/', path)));
      return true;
    } catch {
      return false;
    }
  }

  async tree(paths: readonly ContextPath[], options: { ignore: readonly string[]; signal: AbortSignal }): Promise<ContextTree> {
    const selected = await selectPaths(this.#path, paths);
    const name = selected === undefined ? this.#path : `${this.#path} ${sha256(selected.join('\n')).slice(0, 16)}`;
    const lineage = `context|${name}`;
    const earlier = this.#adopt ? await this.#earlier(lineage) : undefined;
    const ingested = await this.#store.trees.ingest(
      { path: this.#path, ignore: [...(selected ?? []), ...options.ignore], statCache: name, owner: { uid: 0, gid: 0 }, adopt: earlier },
      { signal: options.signal, lease: this.#lease },
    );
    const equal = this.#adopt && earlier === undefined ? await this.#store.trees.findByContent(ingested.content) : undefined;
    // The ingested one is in the lease already; the equal one may be collected just now.
    const tree = equal !== undefined && (await this.#lease.tryAdd(equal.id)) ? equal : { id: ingested.id, content: ingested.content };
    if (earlier !== tree.id) this.#memory.remember(lineage, { operation: sha256(lineage), reads: [], tree: tree.id });
    return { tree, files: ingested.files, bytes: ingested.bytes, hashedFiles: ingested.hashedFiles };
  }

  /** The tree of the folder's last build, unless it was collected. */
  async #earlier(lineage: string): Promise<TreeId | undefined> {
    const id = this.#memory.lastRun(lineage)?.tree;
    if (id === undefined) return undefined;
    try {
      await this.#store.trees.get(id);
      await this.#lease.add('tree', id);
      return id;
    } catch (error) {
      if (error instanceof EngineError && error.kind === 'NotFound') return undefined;
      throw error;
    }
  }
}
