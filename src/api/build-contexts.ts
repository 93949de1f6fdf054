import { randomBytes } from 'node:crypto';
import { EngineError } from '../base/errors.ts';
import type { BuildContext, ContextListParams, ContextListResult, TakeContentsParams } from '../build/port.ts';
import type { TreeRef } from '../store/model.ts';
import type { Lease } from '../store/port.ts';
import type { Services } from './services.ts';
import { receiveUpload, type Upload } from './upload.ts';

/** How long a list waits for its contents, and a tree for its build, since they were last asked for. */
const keptMs = 10 * 60_000;
const most = 64;

type Kept = { readonly upload?: Upload | undefined; readonly lease: Lease; tree: TreeRef | undefined; timer: NodeJS.Timeout };
type Call = { body: unknown; signal: AbortSignal };

/**
 * Folders of clients whose files the daemon does not see (docs/formats/build-context.md): a list of entries comes, the contents that are not here are asked for, and what was sent is kept even when the
 * client goes away. The tree is then a build's context.
 */
export class BuildContexts {
  readonly #services: Pick<Services, 'jobs' | 'store' | 'tmpDir'>;
  readonly #kept = new Map<string, Kept>();

  constructor(services: Pick<Services, 'jobs' | 'store' | 'tmpDir'>) {
    this.#services = services;
  }

  /** Gives the tree, or what is missing of it and the id under which to send that. */
  async offer({ body, signal }: Call): Promise<{ tree: string } | { id: string; missing: string[] }> {
    const { tmpDir, store } = this.#services;
    await using stack = new AsyncDisposableStack();
    const upload = stack.use(await receiveUpload(body, tmpDir, signal));
    const lease = stack.use(await store.leases.acquire({ purpose: 'build context' }));
    const read = await this.#read(upload, lease, signal);
    stack.move();
    if ('tree' in read) {
      await upload[Symbol.asyncDispose]();
      this.#keep(read.tree.id, { lease, tree: read.tree });
      return { tree: read.tree.id };
    }
    const id = randomBytes(16).toString('hex');
    this.#keep(id, { upload, lease, tree: undefined });
    return { id, missing: read.missing };
  }

  /** Contents of what is missing, any number of them. They stay whatever becomes of the rest. */
  async take(id: string, { body, signal }: Call): Promise<void> {
    const { lease } = this.#get(id);
    await using upload = await receiveUpload(body, this.#services.tmpDir, signal);
    const params: TakeContentsParams = { file: upload.file };
    await this.#services.jobs.run<TreeRef>('build.takeContents', params, { signal, lease });
  }

  /** Once nothing is missing any more: the tree. Conflict `CONTEXT_INCOMPLETE`. */
  async finish(id: string, signal: AbortSignal): Promise<{ tree: string }> {
    const kept = this.#get(id);
    if (kept.upload === undefined) throw notKept(id);
    const read = await this.#read(kept.upload, kept.lease, signal);
    if ('missing' in read) {
      throw new EngineError('Conflict', 'CONTEXT_INCOMPLETE', `${read.missing.length} contents of the build context did not come`);
    }
    this.#kept.delete(id);
    clearTimeout(kept.timer);
    await kept.upload[Symbol.asyncDispose]();
    this.#keep(read.tree.id, { lease: kept.lease, tree: read.tree });
    return { tree: read.tree.id };
  }

  /** A tree that was finished a while ago at most, as a context. */
  context(tree: string): BuildContext {
    const kept = this.#get(tree);
    if (kept.tree === undefined) throw notKept(tree);
    return { kind: 'tree', tree: kept.tree };
  }

  #read({ file }: Upload, lease: Lease, signal: AbortSignal): Promise<ContextListResult> {
    const params: ContextListParams = { file };
    return this.#services.jobs.run<ContextListResult>('build.contextList', params, { signal, lease });
  }

  #get(id: string): Kept {
    const kept = this.#kept.get(id);
    if (kept === undefined) throw notKept(id);
    kept.timer.refresh();
    return kept;
  }

  #keep(id: string, kept: Omit<Kept, 'timer'>): void {
    this.#forget(id);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size >= most && oldest !== undefined) this.#forget(oldest);
    this.#kept.set(id, { ...kept, timer: setTimeout(() => this.#forget(id), keptMs).unref() });
  }

  /** What was put into the store stays there, for the next try. */
  #forget(id: string): void {
    const kept = this.#kept.get(id);
    if (kept === undefined) return;
    clearTimeout(kept.timer);
    this.#kept.delete(id);
    // Of a file that cannot be removed, and of a lease that ends by itself, nobody has to know.
    kept.upload?.[Symbol.asyncDispose]()?.then(undefined, () => undefined);
    kept.lease.release().catch(() => undefined);
  }
}

function notKept(id: string): EngineError {
  return new EngineError('NotFound', 'BUILD_CONTEXT_NOT_FOUND', `there is no build context ${id.slice(0, 100)}`, {
    hint: `Send its list again: it is kept for ${keptMs / 60_000} minutes.`,
  });
}
