import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { isMountPoint, unmountIfMounted } from '../../kernel/mount.ts';
import type { TreeId } from '../../store/model.ts';
import { checkCanary } from '../overlay/canary.ts';
import { type IdMapNamespaces, mountableWithMap, withIdmapped } from '../overlay/idmapped.ts';
import { mountReadOnly, removeMountPoint } from '../overlay/mount.ts';
import type { IdMap } from '../port.ts';
import type { Projections } from './projection.ts';

export type ViewsOptions = {
  projections: Projections;
  namespaces: IdMapNamespaces;
  runDirectory: string;
  objects: string;
};

/** Trees mounted read-only, at `<run>/view/<user>/<tree>`: an overlay of the lower alone. */
export class Views {
  readonly #options: ViewsOptions;
  readonly #directory: string;
  readonly #empty: string;
  readonly #scratch: string;
  readonly #own = new Set<string>();

  constructor(options: ViewsOptions) {
    this.#options = options;
    this.#directory = join(options.runDirectory, 'view');
    this.#empty = join(options.runDirectory, 'empty');
    this.#scratch = join(options.runDirectory, 'map');
  }

  async open(user: string, tree: TreeId, idMap: IdMap | undefined): Promise<string> {
    this.#own.add(user);
    const target = join(this.#directory, user, tree);
    if (isMountPoint(target)) return target;
    const { directory, data, info } = await this.#options.projections.lower(tree);
    const namespace = idMap && (await this.#options.namespaces.open(idMap));
    for (const folder of [target, this.#empty]) mkdirSync(folder, { recursive: true, mode: 0o711 });
    try {
      const mountIt = (lower: string) => mountReadOnly({ lower, data, target, empty: this.#empty });
      if (namespace === undefined) mountIt(directory);
      else
        withIdmapped([directory], { namespace, directory: join(this.#scratch, `view-${user}`) }, ([lower = '']) =>
          mountableWithMap(() => mountIt(lower)),
        );
      checkCanary(info, { rootfs: target, objects: this.#options.objects });
    } catch (error) {
      this.#close(target);
      removeMountPoint(join(this.#directory, user));
      throw error;
    }
    return target;
  }

  all(): { tree: TreeId; by: string }[] {
    return namesIn(this.#directory).flatMap((by) => namesIn(join(this.#directory, by)).map((tree) => ({ tree: tree as TreeId, by })));
  }

  end(user: string): void {
    this.#own.delete(user);
    for (const name of namesIn(join(this.#directory, user))) this.#close(join(this.#directory, user, name));
    removeMountPoint(join(this.#directory, user));
  }

  /** Those of an earlier engine. */
  strangers(): string[] {
    return namesIn(this.#directory).filter((user) => !this.#own.has(user));
  }

  #close(target: string): void {
    unmountIfMounted(target);
    removeMountPoint(target);
  }
}

export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
