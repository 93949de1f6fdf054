import { EngineError } from '../../base/errors.ts';
import type { IdMap, IdRange } from '../../snapshot/port.ts';

export type Owner = { uid: number; gid: number };

/** What the kernel shows for an id that a user namespace does not have. */
const overflowId = 65_534;

/** Owners between a container's user namespace and the host. Without a map they are the same. */
export class Owners {
  readonly #idMap: IdMap | undefined;

  constructor(idMap: IdMap | undefined) {
    this.#idMap = idMap;
  }

  /** As the container sees it. */
  inside({ uid, gid }: Owner): Owner {
    if (this.#idMap === undefined) return { uid, gid };
    return {
      uid: translate(this.#idMap.uids, uid, 'outside', 'inside') ?? overflowId,
      gid: translate(this.#idMap.gids, gid, 'outside', 'inside') ?? overflowId,
    };
  }

  /** InvalidArgument `OWNER_UNMAPPED` for one that the container cannot have. */
  outside({ uid, gid }: Owner): Owner {
    if (this.#idMap === undefined) return { uid, gid };
    return {
      uid: translate(this.#idMap.uids, uid, 'inside', 'outside') ?? unmapped(uid),
      gid: translate(this.#idMap.gids, gid, 'inside', 'outside') ?? unmapped(gid),
    };
  }

  /** Root as it is inside. */
  get root(): Owner {
    return this.outside({ uid: 0, gid: 0 });
  }
}

function translate(ranges: readonly IdRange[], id: number, from: 'inside' | 'outside', to: 'inside' | 'outside'): number | undefined {
  const range = ranges.find((one) => id >= one[from] && id < one[from] + one.count);
  return range && range[to] + (id - range[from]);
}

function unmapped(id: number): never {
  throw new EngineError('InvalidArgument', 'OWNER_UNMAPPED', `Container ID ${id} cannot be mapped to a host ID`, {
    hint: "The container's user namespace has no such id: see its range in /etc/subuid and /etc/subgid.",
  });
}
