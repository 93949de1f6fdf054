import { randomBytes } from 'node:crypto';
import { lstat, mkdir, opendir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { type Hex, isHex, sha256 } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';

/** What is known of a cache mount, beside its files. */
export type MountRecord = {
  readonly version: 1;
  readonly id: string;
  readonly platform: string;
  readonly sharing: 'shared' | 'private' | 'locked';
  readonly createdAtMs: number;
  readonly lastUsedAtMs: number;
  readonly uses: number;
  /** The longest run of a step with it. */
  readonly costMs: number;
  /** What it was when it was last taken into the store. */
  readonly captured?: { readonly tree: TreeId; readonly content: Hex; readonly atMs: number } | undefined;
};

export type MountName = Pick<MountRecord, 'id' | 'platform'>;

const recordName = 'cache.json';

/**
 * The folders of cache mounts: `<directory>/<key>/<number>` and `cache.json` beside them. Number 0 is the one that all share; `private` steps that run at the same time take further ones.
 */
export class MountFolders {
  readonly #directory: string;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
  }

  keyOf({ id, platform }: MountName): string {
    return sha256(JSON.stringify(['cache mount', platform, id])).slice(0, 32);
  }

  path(key: string, number: number): string {
    return join(this.#directory, key, String(number));
  }

  /** Puts a folder there that `fill` has made whole; false when there is one. A crash leaves nothing but what `recover` removes. */
  async add(key: string, number: number, fill: (path: string) => Promise<void>): Promise<boolean> {
    const path = this.path(key, number);
    if (await exists(path)) return false;
    const temporary = `${path}.new-${randomBytes(6).toString('hex')}`;
    await mkdir(temporary, { recursive: true, mode: 0o700 });
    try {
      await fill(temporary);
      await rename(temporary, path);
      return true;
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      if ((isErrno(error, 'ENOTEMPTY') || isErrno(error, 'EEXIST')) && (await exists(path))) return false;
      throw error;
    }
  }

  async record(key: string): Promise<MountRecord | undefined> {
    try {
      const parsed: unknown = JSON.parse(await readFile(join(this.#directory, key, recordName), 'utf8'));
      return typeof parsed === 'object' && parsed !== null && 'version' in parsed && parsed.version === 1
        ? (parsed as MountRecord)
        : undefined;
    } catch (error) {
      if (error instanceof SyntaxError || isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** One change after the other. Lost by a crash, it costs a number in a listing. */
  change(key: string, change: (record: MountRecord | undefined) => MountRecord | undefined): Promise<void> {
    const write = this.#writing.then(async () => {
      const changed = change(await this.record(key));
      if (changed === undefined) return;
      const path = join(this.#directory, key, recordName);
      await mkdir(join(this.#directory, key), { recursive: true, mode: 0o700 });
      await writeFile(`${path}.new`, JSON.stringify(changed), { mode: 0o600 });
      await rename(`${path}.new`, path);
    });
    this.#writing = write.catch(() => undefined);
    return write;
  }

  captured(key: string, { id: tree, content }: TreeRef, atMs: number): Promise<void> {
    return this.change(key, (record) => record && { ...record, captured: { tree, content, atMs } });
  }

  async keys(): Promise<string[]> {
    return (await readdir(this.#directory).catch(() => [])).filter((name) => name.length === 32 && isHex(name.repeat(2)));
  }

  async remove(key: string): Promise<void> {
    await rm(join(this.#directory, key), { recursive: true, force: true });
  }

  /** Bytes of blocks, and files. */
  async usage(key: string): Promise<{ bytes: number; files: number }> {
    const sum = { bytes: 0, files: 0 };
    await addFolder(join(this.#directory, key), sum);
    return sum;
  }

  /** Removes what a crash cut short, and folders of which nobody knows what they are. */
  async recover(): Promise<void> {
    for (const key of await this.keys()) {
      if ((await this.record(key)) === undefined) await this.remove(key);
      else
        for (const name of await readdir(join(this.#directory, key)))
          if (name.includes('.new')) await rm(join(this.#directory, key, name), { recursive: true, force: true });
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** Walks without holding the event loop. What is removed meanwhile holds nothing any more. */
async function addFolder(path: string, sum: { bytes: number; files: number }): Promise<void> {
  const folders: string[] = [];
  let names: string[] = [];
  const count = async () => {
    const stats = await Promise.all(names.map((name) => lstat(join(path, name)).catch(() => undefined)));
    for (const stat of stats) sum.bytes += (stat?.blocks ?? 0) * 512;
    names = [];
  };
  try {
    for await (const entry of await opendir(path)) {
      names.push(entry.name);
      if (entry.isDirectory()) folders.push(entry.name);
      else sum.files++;
      if (names.length >= 64) await count();
    }
    await count();
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  for (const name of folders) await addFolder(join(path, name), sum);
}
