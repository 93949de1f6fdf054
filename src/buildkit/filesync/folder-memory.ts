import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';

type MemoryFile = { version: 1; folders: Record<string, TreeId> };

const limit = 500;

/** Which tree a client's folder was when it last came, so that only what changed since has to. Losing it costs a transfer. */
export class FolderMemory {
  readonly #path: string;
  readonly #folders = new Map<Hex, TreeId>();
  #loaded: Promise<void> | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  async get(sharedKey: string, name: string): Promise<TreeId | undefined> {
    this.#loaded ??= this.#load();
    await this.#loaded;
    return this.#folders.get(keyOf(sharedKey, name));
  }

  async put(sharedKey: string, name: string, tree: TreeId): Promise<void> {
    const key = keyOf(sharedKey, name);
    const same = this.#folders.get(key) === tree;
    // The latest used ones stay: last in the order of insertion.
    this.#folders.delete(key);
    this.#folders.set(key, tree);
    for (const oldest of this.#folders.keys()) {
      if (this.#folders.size <= limit) break;
      this.#folders.delete(oldest);
    }
    if (same) return;
    this.#saving = this.#saving.catch(() => undefined).then(() => this.#save());
    await this.#saving;
  }

  async #load(): Promise<void> {
    try {
      const { version, folders } = JSON.parse(await readFile(this.#path, 'utf8')) as MemoryFile;
      if (version !== 1) return;
      for (const [key, tree] of Object.entries(folders)) this.#folders.set(key as Hex, tree);
    } catch (error) {
      // What a crash or a person left of it is no reason to build nothing.
      if (!isErrno(error, 'ENOENT') && !(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
    }
  }

  async #save(): Promise<void> {
    const content: MemoryFile = { version: 1, folders: Object.fromEntries(this.#folders) };
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const temporary = `${this.#path}.new`;
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(content));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.#path);
  }
}

function keyOf(sharedKey: string, name: string): Hex {
  return sha256(`${sharedKey}\0${name}`);
}
