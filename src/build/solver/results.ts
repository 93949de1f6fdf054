import { randomUUID } from 'node:crypto';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { JobOptions, Lease, Store } from '../../store/port.ts';
import { originKey, saltedKey } from './keys.ts';
import type { BuildMemory } from './memory.ts';

/** A vertex's result. */
export type Solved = {
  readonly tree: TreeRef;
  /** When a tree of this content was first made; undefined for one that was given. */
  readonly createdAtMs?: number | undefined;
  /** When the step last ran that gave it, under the key that it was found by; undefined where nobody knows any more. For cache TTLs. */
  readonly madeAtMs?: number | undefined;
};

export type ResultStore = Pick<Store, 'trees' | 'actions' | 'uses'>;

/** Results by key. Entries of the action cache never change: another result of the same key lies under a salted one. */
export class Results {
  readonly #store: ResultStore;
  readonly #memory: BuildMemory;

  constructor(store: ResultStore, memory: BuildMemory) {
    this.#store = store;
    this.#memory = memory;
  }

  /** The key under which the result in force lies. */
  inForce(key: Hex): Hex {
    return saltedKey(key, this.#memory.salt(key));
  }

  /** Looks under a key in force; the lease holds what is found. */
  async get(key: Hex, lease: Lease): Promise<Solved | undefined> {
    const output = await this.#store.actions.get(key);
    if (output === undefined) return undefined;
    await lease.add('tree', output.tree.id);
    await this.#store.uses.touch('action', key);
    const madeAtMs = latest(timeOf(output.detail, 'madeAtMs'), this.#memory.renewedAt(key));
    return { tree: output.tree, createdAtMs: createdAtOf(output.detail), madeAtMs };
  }

  /** Gives the key that is then in force. */
  async put(key: Hex, result: Solved): Promise<Hex> {
    const { actions } = this.#store;
    const output = { tree: result.tree, detail: { createdAtMs: result.createdAtMs, madeAtMs: result.madeAtMs } };
    const current = this.inForce(key);
    const earlier = await actions.get(current);
    if (earlier?.tree.id === result.tree.id) {
      this.#renew(current, earlier.detail, result.madeAtMs);
      return current;
    }
    if (earlier === undefined) {
      await actions.put(current, output);
      return current;
    }
    const salt = randomUUID();
    const salted = saltedKey(key, salt);
    await actions.put(salted, output);
    this.#memory.setSalt(key, salt);
    return salted;
  }

  /** A later run with the same result leaves the entry, and with it every recipe after it. */
  #renew(key: Hex, detail: Record<string, unknown> | undefined, madeAtMs: number | undefined): void {
    const known = latest(timeOf(detail, 'madeAtMs'), this.#memory.renewedAt(key));
    if (madeAtMs !== undefined && (known === undefined || madeAtMs > known)) this.#memory.setRenewed(key, madeAtMs);
  }

  /**
   * Early cutoff: a tree equal in content to one that exists is that one, times included, so that everything after it is known. Otherwise entries that
   * came out as in `last`, the step's last run, keep that run's times.
   */
  async settle(made: TreeRef, last: TreeId | undefined, options: JobOptions & { lease: Lease }): Promise<Solved> {
    const { trees, actions } = this.#store;
    let tree = (await trees.findByContent(made.content)) ?? made;
    if (tree.id === made.id && last !== undefined && last !== made.id) tree = await this.#adopt(made, last, options);
    await options.lease.add('tree', tree.id);
    const key = originKey(tree.content);
    const origin = await actions.get(key);
    const createdAtMs = createdAtOf(origin?.detail) ?? Date.now();
    if (origin === undefined) await actions.put(key, { tree, detail: { createdAtMs } });
    return { tree, createdAtMs };
  }

  async #adopt(made: TreeRef, last: TreeId, options: JobOptions): Promise<TreeRef> {
    try {
      return await this.#store.trees.adopt(made.id, last, options);
    } catch (error) {
      // The earlier tree may have been collected; then there is nothing to take times from.
      if (error instanceof EngineError && error.kind === 'NotFound') return made;
      throw error;
    }
  }
}

function createdAtOf(detail: Record<string, unknown> | undefined): number | undefined {
  return timeOf(detail, 'createdAtMs');
}

function timeOf(detail: Record<string, unknown> | undefined, name: 'createdAtMs' | 'madeAtMs'): number | undefined {
  const time = detail?.[name];
  return typeof time === 'number' ? time : undefined;
}

function latest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}
