import { randomBytes } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { EngineError } from '../base/errors.ts';
import type { Digest, Hex } from '../oci/digest.ts';
import type { Store } from '../store/port.ts';
import type { History } from './history.ts';
import type { PlanParams } from './plan-job.ts';
import type { Disk, GcPolicy } from './policy.ts';
import type { Collection, Collector, GcPlan, GcRooms, PlannedItem, PlanOptions } from './port.ts';

export type CollectorOptions = {
  store: Store;
  rooms: GcRooms;
  policy: GcPolicy;
  history: History;
};

/** Plans are kept so long that one can be read and then done. */
const keptPlans = 20;

export class StoreCollector implements Collector {
  readonly #options: CollectorOptions;
  readonly #plans = new Map<string, GcPlan>();
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: CollectorOptions) {
    this.#options = options;
  }

  async plan(options: PlanOptions = {}): Promise<GcPlan> {
    const { store, rooms, policy } = this.#options;
    const { block, ...disk } = await diskOf(store.paths.root);
    const surroundings = await rooms.surroundings();
    const params: PlanParams = {
      id: randomBytes(6).toString('hex'),
      nowMs: Date.now(),
      policy,
      disk,
      block,
      wantedBytes: options.wantedBytes,
      surroundings: { ...surroundings, trees: [...surroundings.trees, { tree: store.trees.empty.id, by: 'the engine' }] },
    };
    const plan = await store.jobs.run<GcPlan>('gc.plan', params, { lane: 'collect', signal: options.signal });
    this.#plans.set(plan.id, plan);
    const [oldest] = this.#plans.keys();
    if (this.#plans.size > keptPlans && oldest !== undefined) this.#plans.delete(oldest);
    return plan;
  }

  /** One at a time; a second one waits for the first. */
  run(options: PlanOptions & { planId?: string | undefined; cause: Collection['cause'] }): Promise<Collection> {
    const mine = this.#running.then(() => this.#run(options));
    this.#running = mine.catch(() => undefined);
    return mine;
  }

  history(): Promise<Collection[]> {
    return this.#options.history.list();
  }

  async #run(options: PlanOptions & { planId?: string | undefined; cause: Collection['cause'] }): Promise<Collection> {
    const { store, history, policy } = this.#options;
    const plan = options.planId === undefined ? await this.plan(options) : this.#known(options.planId);
    const startedAtMs = Date.now();
    const before = await diskOf(store.paths.root);
    const done: PlannedItem[] = [];
    const left: Collection['left'][number][] = [];
    for (const item of plan.items) {
      options.signal?.throwIfAborted();
      const reason = await this.#remove(item, plan).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
      if (reason === undefined) done.push(item);
      else left.push({ kind: item.kind, id: item.id, name: item.name, reason });
    }
    const kept = async () => (await this.#options.rooms.surroundings()).trees.map(({ tree }) => tree);
    const sweep = await store.sweeper.sweep({ kept, share: policy.share, signal: options.signal });
    const after = await diskOf(store.paths.root);
    const collection: Collection = {
      planId: plan.id,
      cause: options.cause,
      startedAtMs,
      durationMs: Date.now() - startedAtMs,
      plannedBytes: plan.bytes,
      freedBytes: Math.max(0, after.freeBytes - before.freeBytes),
      removed: done.map(({ kind, id, name, reason, bytes }) => ({ kind, id, name, reason, bytes })),
      left,
      sweep,
    };
    // The record is worth less than the space.
    await history.add(collection).catch(() => undefined);
    this.#plans.delete(plan.id);
    return collection;
  }

  #known(id: string): GcPlan {
    const plan = this.#plans.get(id);
    if (plan !== undefined) return plan;
    throw new EngineError(
      'NotFound',
      'PLAN_NOT_FOUND',
      `there is no plan ${id}: it was done already, is too old, or the engine was started since`,
      {
        hint: '"slipway gc plan" makes a new one.',
      },
    );
  }

  /** Undefined when it is gone; else why it stays. */
  async #remove(item: PlannedItem, plan: GcPlan): Promise<string | undefined> {
    const { store, rooms } = this.#options;
    switch (item.kind) {
      case 'unused':
        return undefined;
      case 'image': {
        const used = await store.uses.last('image', item.id);
        if (used !== undefined && used > plan.createdAtMs) return 'it was used since the plan was made';
        const user = (await rooms.surroundings()).images.find(({ id }) => id === item.id);
        if (user !== undefined) return `${user.by} uses it`;
        await store.images.remove(item.id as Digest, { force: true });
        return undefined;
      }
      case 'result':
        return (await store.sweeper.forgetResults((item.keys ?? []) as Hex[], plan.createdAtMs))
          ? undefined
          : 'it was used since the plan was made';
      case 'layer':
        await store.sweeper.forgetLayer(item.id as Digest);
        return undefined;
      case 'blob':
        return (await store.blobs.remove([item.id as Digest], { though: 'named' })).length > 0
          ? undefined
          : 'it was used since the plan was made';
      default:
        return rooms.remove(item, plan.createdAtMs);
    }
  }
}

async function diskOf(root: string): Promise<Disk & { block: number }> {
  const { bsize, blocks, bavail } = await statfs(root);
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize, block: bsize };
}
