import { EngineError } from '../../base/errors.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { ImageRecord, JobOptions, KnownLayer, Store } from '../../store/port.ts';
import { isFilled } from './history.ts';

/** What stacks of layers unpack to, remembered: a stack is applied once. */
export class LayerStacks {
  readonly #store: Pick<Store, 'jobs' | 'actions' | 'layers' | 'images' | 'blobs'>;

  constructor(store: Pick<Store, 'jobs' | 'actions' | 'layers' | 'images' | 'blobs'>) {
    this.#store = store;
  }

  /** The tree after each layer. The lease gets them. */
  async prefixes(stack: readonly Pick<KnownLayer, 'tree' | 'implied'>[], options: JobOptions = {}): Promise<TreeRef[]> {
    const keys: Hex[] = [];
    for (const { tree, implied } of stack) keys.push(sha256(JSON.stringify(['slipway layer stack 1', keys.at(-1) ?? '', tree, implied])));
    const known: TreeRef[] = [];
    for (const key of keys) {
      const found = await this.#store.actions.get(key);
      if (found === undefined) break;
      known.push(found.tree);
    }
    for (const tree of known) await options.lease?.add('tree', tree.id);
    if (known.length === stack.length) return known;
    const layers = stack.slice(known.length).map(({ tree, implied }) => ({ tree, implied }));
    const made = await this.#store.jobs.run<TreeRef[]>('transport.layer-stack', { base: known.at(-1)?.id, layers }, options);
    for (const [index, tree] of made.entries()) await this.#store.actions.put(keys[known.length + index] as Hex, { tree });
    return [...known, ...made];
  }

  /** See LayerMaker. */
  async stepsOf(image: ImageRecord, options?: JobOptions): Promise<readonly TreeId[] | undefined> {
    const filled = image.history.filter(isFilled).length;
    if (image.steps !== undefined && image.steps.length === filled && image.steps.at(-1) === image.tree) return image.steps;
    if (image.origin === undefined || image.origin.layers.length !== filled || filled === 0) return undefined;
    if (filled === 1) return [image.tree];
    const layers = await this.#known(image);
    if (layers === undefined) return undefined;
    try {
      const prefixes = await this.prefixes(layers, options);
      return prefixes.at(-1)?.id === image.tree ? prefixes.map(({ id }) => id) : undefined;
    } catch (error) {
      // The tree of a layer may have been collected since.
      if (error instanceof EngineError && error.kind === 'NotFound') return undefined;
      throw error;
    }
  }

  /** The layers of the image that this one was built on: the one with the longest history that this one's begins with, where its layers are known and can be had. */
  async ofBase(image: ImageRecord): Promise<{ base: ImageRecord; layers: KnownLayer[] } | undefined> {
    const own = image.history.map(textOf);
    const bases = (await this.#store.images.list())
      .map(({ record }) => record)
      .filter(({ origin, history }) => origin !== undefined && history.length > 0 && history.length < own.length)
      .filter(({ history }) => history.every((entry, index) => textOf(entry) === own[index]))
      .sort((a, b) => b.history.length - a.history.length || (a.id < b.id ? -1 : 1));
    for (const base of bases) {
      const layers = await this.#known(base);
      if (layers !== undefined && (await this.#available(layers))) return { base, layers };
    }
    return undefined;
  }

  async #known({ origin }: ImageRecord): Promise<KnownLayer[] | undefined> {
    const layers: KnownLayer[] = [];
    for (const { digest } of origin?.layers ?? []) {
      const layer = await this.#store.layers.get(digest);
      if (layer === undefined) return undefined;
      layers.push(layer);
    }
    return layers.length === 0 ? undefined : layers;
  }

  async #available(layers: readonly KnownLayer[]): Promise<boolean> {
    for (const { digest } of layers) {
      if (!(await this.#store.blobs.has(digest)) && (await this.#store.layers.sources(digest)).length === 0) return false;
    }
    return true;
  }
}

function textOf(entry: ImageRecord['history'][number]): string {
  const { created, created_by, author, comment, empty_layer } = entry;
  return JSON.stringify([created ?? '', created_by ?? '', author ?? '', comment ?? '', empty_layer === true]);
}
