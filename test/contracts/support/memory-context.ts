import { type ByteString, fromBuffer } from '../../../src/base/bytes.ts';
import type { Hex } from '../../../src/oci/digest.ts';
import { sha256 } from '../../../src/oci/digest.ts';
import type { Entry, Meta, NodeDigests, Root, TreeId } from '../../../src/store/model.ts';

/** Directory nodes and roots in memory, for tests of what only reads trees. Its digests are its own. */
export class MemoryTrees {
  readonly #nodes = new Map<Hex, readonly Entry[]>();
  readonly #roots = new Map<TreeId, Root>();

  root(id: TreeId): Root {
    const root = this.#roots.get(id);
    if (root === undefined) throw new Error(`no tree ${id}`);
    return root;
  }

  node(full: Hex): readonly Entry[] {
    const entries = this.#nodes.get(full);
    if (entries === undefined) throw new Error(`no node ${full}`);
    return entries;
  }

  putNode(entries: readonly Entry[]): NodeDigests {
    const sorted = [...entries].sort((a, b) => (a.name < b.name ? -1 : 1));
    const full = sha256(JSON.stringify(sorted));
    this.#nodes.set(full, sorted);
    return { full, content: full };
  }

  putRoot(root: Root): TreeId {
    const id = sha256(JSON.stringify(root)) as TreeId;
    this.#roots.set(id, root);
    return id;
  }
}

export const plainMeta: Meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 1_700_000_000, mtimeNsec: 123_456_789 };

/** A name or value from raw bytes or text. */
export function bytes(value: string | Uint8Array): ByteString {
  return typeof value === 'string' ? fromBuffer(Buffer.from(value, 'utf8')) : fromBuffer(value);
}
