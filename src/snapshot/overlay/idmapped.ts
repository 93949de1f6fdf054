import { closeSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { unmountIfMounted } from '../../kernel/mount.ts';
import { attachTree, cloneTree, idmapTree } from '../../kernel/mount-tree.ts';
import { openUserNamespace } from '../../kernel/user-namespace.ts';
import type { IdMap, IdRange } from '../port.ts';
import { removeMountPoint } from './mount.ts';

/**
 * The owner, in an upper layer, of what the engine itself makes through a root with an id map. Without an id the kernel would let it make nothing
 * there, and overlayfs works in its work directory as the engine. 2^32 - 1 is no id and 2^32 - 2 is often "nobody".
 */
export const engineId = 4_294_967_293;

/** User namespaces by their maps. Few: they are kept until the engine ends. */
export class IdMapNamespaces {
  readonly #made = new Map<string, Promise<number>>();

  /** The descriptor stays this object's. InvalidArgument `IDMAP_INVALID`; Unsupported `IDMAP_UNSUPPORTED`. */
  open(idMap: IdMap): Promise<number> {
    const key = JSON.stringify([idMap.uids, idMap.gids]);
    const made = this.#made.get(key) ?? make(idMap);
    this.#made.set(key, made);
    made.catch(() => this.#made.delete(key));
    return made;
  }

  async close(): Promise<void> {
    const made = [...this.#made.values()];
    this.#made.clear();
    for (const one of await Promise.allSettled(made)) if (one.status === 'fulfilled') closeSync(one.value);
  }
}

async function make({ uids, gids }: IdMap): Promise<number> {
  try {
    return await openUserNamespace(withEngine(uids), withEngine(gids));
  } catch (cause) {
    if (isErrno(cause, 'EINVAL', 'EPERM')) {
      throw new EngineError('InvalidArgument', 'IDMAP_INVALID', `the kernel refuses the id map ${JSON.stringify({ uids, gids })}`, {
        hint: 'Ranges must not overlap and need a count of at least 1.',
        cause,
      });
    }
    throw unsupported('this host makes no user namespace', cause);
  }
}

function withEngine(ranges: readonly IdRange[]): IdRange[] {
  const isMapped = ranges.some(({ outside, count }) => outside === 0 && count > 0);
  return isMapped ? [...ranges] : [...ranges, { inside: engineId, outside: 0, count: 1 }];
}

/**
 * Runs `use` with the layers' paths replaced by those of idmapped mounts of them, which are in the name space only meanwhile: an overlay keeps what it
 * was made of.
 */
export function withIdmapped<T>(
  layers: readonly string[],
  options: { namespace: number; directory: string },
  use: (mapped: string[]) => T,
): T {
  const { namespace, directory } = options;
  const mapped: string[] = [];
  try {
    for (const [index, layer] of layers.entries()) {
      const target = join(directory, String(index));
      mkdirSync(target, { recursive: true, mode: 0o700 });
      mapped.push(target);
      mountIdmapped(layer, target, namespace);
    }
    return use(mapped);
  } finally {
    for (const target of mapped.reverse()) unmountIfMounted(target);
    for (const target of [...mapped, directory]) removeMountPoint(target);
  }
}

function mountIdmapped(layer: string, target: string, namespace: number): void {
  const tree = clone(layer);
  try {
    idmapTree(tree, namespace);
    attachTree(tree, target);
  } catch (cause) {
    if (isErrno(cause, 'ENOSYS')) throw unsupported('the kernel has no idmapped mounts (Linux 5.12)', cause);
    if (isErrno(cause, 'EINVAL', 'EPERM', 'EOPNOTSUPP'))
      throw unsupported(`the file system at ${layer} cannot be mounted with an id map`, cause);
    throw cause;
  } finally {
    closeSync(tree);
  }
}

function clone(layer: string): number {
  try {
    return cloneTree(layer);
  } catch (cause) {
    if (isErrno(cause, 'ENOSYS')) throw unsupported('the kernel has no idmapped mounts (Linux 5.12)', cause);
    throw cause;
  }
}

/** Runs what mounts an overlay of idmapped layers. */
export function mountableWithMap(use: () => void): void {
  try {
    use();
  } catch (cause) {
    if (!isErrno(cause, 'EINVAL')) throw cause;
    throw unsupported('overlayfs of this kernel takes no idmapped layers (Linux 5.19)', cause);
  }
}

function unsupported(why: string, cause: unknown): EngineError {
  return new EngineError('Unsupported', 'IDMAP_UNSUPPORTED', `a root file system for a user namespace cannot be made: ${why}`, {
    hint: 'Run the container without its own user namespace: --userns host.',
    cause,
  });
}
