import type { TreeRef } from '../../store/model.ts';
import type { ImageRecord, Store } from '../../store/port.ts';
import type { Archives, LoadedImage, UntarOptions } from '../port.ts';
import type { MakingParts } from '../push/made.ts';
import type { UntarParams, UntarResult } from '../untar/job.ts';
import { exportTree } from './export.ts';
import { type ImportOptions, importRoot } from './import.ts';
import { type LoadOptions, loadArchive } from './load.ts';
import { type SaveOptions, saveArchive } from './save.ts';

/** Images in and out as files, over the store and the jobs of this room. Holds no state of its own. */
export class ArchiveService implements Archives {
  readonly #parts: MakingParts;
  readonly #store: Store;

  constructor(parts: MakingParts) {
    this.#parts = parts;
    this.#store = parts.store;
  }

  load(file: string, options: LoadOptions = {}): Promise<LoadedImage[]> {
    return loadArchive(this.#store, file, options);
  }

  save(names: readonly string[], options: SaveOptions): AsyncIterable<Uint8Array> {
    return saveArchive(this.#parts, names, options);
  }

  importRoot(file: string, options: ImportOptions): Promise<ImageRecord> {
    return importRoot(this.#store, file, options);
  }

  exportTree(tree: string, options: { signal?: AbortSignal | undefined } = {}): AsyncIterable<Uint8Array> {
    return exportTree(this.#store, tree, options);
  }

  async untar(file: string, options: UntarOptions): Promise<TreeRef> {
    const { what, kind = 'plain', base, at, chown, endOptional, ...jobOptions } = options;
    const params: UntarParams = { sources: [{ file, what }], kind, base, at, chown, endOptional };
    const { id, content } = await this.#store.jobs.run<UntarResult>('transport.untar', params, jobOptions);
    return { id, content };
  }
}
