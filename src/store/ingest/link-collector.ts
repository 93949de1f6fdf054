import type { ByteString } from '../../base/bytes.ts';
import type { FileStat } from '../../kernel/stat.ts';
import { fileChanged } from './file-hasher.ts';

type Inode = { paths: ByteString[]; ctimeSec: number; ctimeNsec: number };

/** Groups the names that share an inode. */
export class LinkCollector {
  readonly #inodes = new Map<string, Inode>();
  readonly #dropped = new Set<ByteString>();

  /** Conflict `FILE_CHANGED` when the inode changed since its other name was seen: then the names would not say the same. */
  add(stat: FileStat, path: ByteString): void {
    const inode = this.#inodes.get(stat.inodeKey);
    if (inode === undefined) {
      this.#inodes.set(stat.inodeKey, { paths: [path], ctimeSec: stat.ctimeSec, ctimeNsec: stat.ctimeNsec });
    } else if (inode.ctimeSec === stat.ctimeSec && inode.ctimeNsec === stat.ctimeNsec) {
      inode.paths.push(path);
    } else {
      throw fileChanged(path);
    }
  }

  /** The name vanished after it was seen. */
  drop(path: ByteString): void {
    this.#dropped.add(path);
  }

  groups(): ByteString[][] {
    const groups: ByteString[][] = [];
    for (const { paths } of this.#inodes.values()) {
      if (paths.length < 2) continue;
      const present = this.#dropped.size === 0 ? paths : paths.filter((path) => !this.#dropped.has(path));
      if (present.length > 1) groups.push(present);
    }
    return groups;
  }
}
