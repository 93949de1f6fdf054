import { randomUUID } from 'node:crypto';
import { EngineError } from '../../base/errors.ts';
import { type Hex, isHex } from '../../oci/digest.ts';
import type { StepTraffic } from '../../runtime/port.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { ActionOutput, JobOptions, Lease, Store } from '../../store/port.ts';
import { originKey, saltedKey } from './keys.ts';
import type { BuildMemory } from './memory.ts';

/** A vertex's result. */
export type Solved = {
  readonly tree: TreeRef;
  /** When a tree of this content was first made; undefined for one that was given. */
  readonly createdAtMs?: number | undefined;
  /** When the step last ran that gave it, under the key that it was found by; undefined where nobody knows any more. For cache TTLs. */
  readonly madeAtMs?: number | undefined;
  /** How long the step ran that gave it. */
  readonly costMs?: number | undefined;
  /** What it sent and got then, where that was recorded. */
  readonly traffic?: readonly StepTraffic[] | undefined;
  /** The step's content key, of a result that lies under its recipe: for those who take the result to another host. */
  readonly contentKey?: Hex | undefined;
};

/** Results that other hosts made (docs/formats/build-cache.md). */
export interface RemoteResults {
  /**
   * What lies under a key, its tree in the store and held by the lease. Undefined when there is none, when it cannot be had, and when having it would take longer than making it; never an error.
   */
  get(key: Hex, lease: Lease): Promise<Solved | undefined>;
}

export type ResultStore = Pick<Store, 'trees' | 'actions' | 'uses'>;

/** Results by key. Entries of the action cache never change: another result of the same key lies under a salted one. */
export class Results {
  readonly #store: ResultStore;
  readonly #memory: BuildMemory;
  readonly #remote: RemoteResults | undefined;

  constructor(store: ResultStore, memory: BuildMemory, remote?: RemoteResults) {
    this.#store = store;
    this.#memory = memory;
    this.#remote = remote;
  }

  /** The same results, and those of others where there are none. */
  withRemote(remote: RemoteResults | undefined): Results {
    return remote === undefined ? this : new Results(this.#store, this.#memory, remote);
  }

  /** The key under which the result in force lies. */
  inForce(key: Hex): Hex {
    return saltedKey(key, this.#memory.salt(key));
  }

  /** Looks under a key in force; the lease holds what is found. */
  async get(key: Hex, lease: Lease): Promise<Solved | undefined> {
    const output = await this.#store.actions.get(key);
    if (output === undefined || !(await lease.tryAdd(output.tree.id))) return this.#fromRemote(key, lease);
    await this.#store.uses.touch('action', key);
    return solvedOf(output, this.#memory.renewedAt(key));
  }

  async #fromRemote(key: Hex, lease: Lease): Promise<Solved | undefined> {
    const found = await this.#remote?.get(key, lease);
    if (found === undefined) return undefined;
    const { actions } = this.#store;
    const { tree, ...detail } = found;
    await actions.put(key, { tree, detail });
    const origin = originKey(tree.content);
    if (found.createdAtMs !== undefined && (await actions.get(origin)) === undefined) {
      await actions.put(origin, { tree, detail: { createdAtMs: found.createdAtMs } });
    }
    return found;
  }

  /** Gives the key that is then in force. */
  async put(key: Hex, result: Solved): Promise<Hex> {
    const { actions } = this.#store;
    const { tree, ...detail } = result;
    const output = { tree, detail };
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
    const known = latest(numberOf(detail, 'madeAtMs'), this.#memory.renewedAt(key));
    if (madeAtMs !== undefined && (known === undefined || madeAtMs > known)) this.#memory.setRenewed(key, madeAtMs);
  }

  /**
   * Early cutoff: a tree equal in content to one that exists is that one, times included, so that everything after it is known. Otherwise entries that
   * came out as in `last`, the step's last run, keep that run's times.
   */
  async settle(made: TreeRef, last: TreeId | undefined, options: JobOptions & { lease: Lease }): Promise<Solved> {
    const { trees, actions } = this.#store;
    const equal = await trees.findByContent(made.content);
    // The equal one may be collected just now.
    let tree = equal !== undefined && (await options.lease.tryAdd(equal.id)) ? equal : made;
    if (tree.id === made.id && last !== undefined && last !== made.id) tree = await this.#adopt(made, last, options);
    await options.lease.add('tree', tree.id);
    const key = originKey(tree.content);
    const origin = await actions.get(key);
    const createdAtMs = numberOf(origin?.detail, 'createdAtMs') ?? Date.now();
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

/** A result as it lies in the action cache. `renewedAtMs`: a later run gave the same. */
export function solvedOf({ tree, detail }: ActionOutput, renewedAtMs?: number): Solved {
  const contentKey = detail?.contentKey;
  return {
    tree,
    createdAtMs: numberOf(detail, 'createdAtMs'),
    madeAtMs: latest(numberOf(detail, 'madeAtMs'), renewedAtMs),
    costMs: numberOf(detail, 'costMs'),
    traffic: Array.isArray(detail?.traffic) ? (detail.traffic as StepTraffic[]) : undefined,
    contentKey: typeof contentKey === 'string' && isHex(contentKey) ? contentKey : undefined,
  };
}

function numberOf(detail: Record<string, unknown> | undefined, name: 'createdAtMs' | 'madeAtMs' | 'costMs'): number | undefined {
  const value = detail?.[name];
  return typeof value === 'number' ? value : undefined;
}

function latest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}
