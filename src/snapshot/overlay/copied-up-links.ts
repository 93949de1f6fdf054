import { closeSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ByteString } from '../../base/bytes.ts';
import { isErrno } from '../../base/errors.ts';
import { DirectoryReader } from '../../kernel/directory.ts';
import { fileHandle, O } from '../../kernel/files.ts';
import type { Entry } from '../../store/model.ts';
import type { BaseTree } from './base-tree.ts';

/** A hardlink group of the base whose inode now lives in the overlay's index. */
type Moved = {
  readonly fd: number;
  readonly file: ByteString;
  /** Names the upper inode. */
  readonly key: string;
  /** The group's entry in the base. */
  readonly base: Entry | undefined;
};

/** Where an overlay keeps its index, and the lower directory (mounted) that its entries are about. */
export type IndexLocation = { readonly directory: string; readonly lower: string };

/**
 * With `index=on` a write through one name of a lower hardlink group shows under all of them, though the upper layer has only the names
 * that were touched. The overlay's index directory has an entry for each such group, named after the file handle of the lower inode.
 */
export class CopiedUpLinks implements Disposable {
  readonly #groups = new Set<number>();
  readonly #byPath = new Map<ByteString, Moved>();
  readonly #above = new Set<string>();
  readonly #fd: number | undefined;

  constructor(base: BaseTree, index: IndexLocation | undefined) {
    if (index === undefined || base.root.hardlinks.length === 0) return;
    const files = readIndex(index.directory);
    if (files.size === 0) return;
    this.#fd = openSync(index.directory, O.RDONLY | O.DIRECTORY);
    const reader = new DirectoryReader();
    for (const [group, members] of base.root.hardlinks.entries()) {
      const [first] = members;
      if (first === undefined) continue;
      const file = files.get(fileHandle(Buffer.from(`${index.lower}/${first}`, 'latin1')) ?? '');
      if (file === undefined) continue;
      this.#groups.add(group);
      const moved = { fd: this.#fd, file, key: reader.statAt(this.#fd, file).inodeKey, base: base.lookup(first) };
      for (const member of members) this.#add(member, moved);
    }
  }

  #add(path: ByteString, moved: Moved): void {
    this.#byPath.set(path, moved);
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) this.#above.add(path.slice(0, end));
  }

  get isEmpty(): boolean {
    return this.#groups.size === 0;
  }

  has(group: number): boolean {
    return this.#groups.has(group);
  }

  at(basePath: ByteString): Moved | undefined {
    return this.#byPath.get(basePath);
  }

  /** Whether a copied-up name lies somewhere below this directory of the base. */
  isAbove(basePath: ByteString): boolean {
    return this.#above.has(basePath);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

/** struct ovl_fb: version, magic, length, flags, type, a UUID of 16 bytes; then the file handle. All in hex in the name. */
const handleOffset = 2 * (5 + 16);

/** Index entries by the file handle in their names. */
function readIndex(directory: string): Map<string, ByteString> {
  const files = new Map<string, ByteString>();
  try {
    for (const name of readdirSync(directory)) files.set(name.slice(handleOffset), name as ByteString);
  } catch (error) {
    // No index until the first mount with one.
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  return files;
}

/** The index lies beside the overlay's scratch directory. */
export function indexDirectory(workDirectory: string): string {
  return join(workDirectory, 'index');
}
