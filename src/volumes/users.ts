import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';

/**
 * Who uses which volume, as empty files `<directory>/<volume>/<user>` in the run directory: known again after a crash of the engine, gone with
 * a reboot, as mounts are.
 */
export class VolumeUsers {
  readonly #directory: string;
  /** Added by this engine; the others are an earlier one's. */
  readonly #own = new Set<string>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** True when it was none before. */
  async add(volume: string, user: string): Promise<boolean> {
    this.#own.add(`${volume}/${user}`);
    const folder = join(this.#directory, volume);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      await writeFile(join(folder, user), '', { flag: 'wx', mode: 0o600 });
      return true;
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false;
      throw error;
    }
  }

  async has(volume: string, user: string): Promise<boolean> {
    return (await this.of(volume)).includes(user);
  }

  /** How many there are without this one. */
  async others(volume: string, user: string): Promise<number> {
    return (await this.of(volume)).filter((other) => other !== user).length;
  }

  async remove(volume: string, user: string): Promise<void> {
    this.#own.delete(`${volume}/${user}`);
    await rm(join(this.#directory, volume, user), { force: true });
    try {
      await rmdir(join(this.#directory, volume));
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
    }
  }

  of(volume: string): Promise<string[]> {
    return names(join(this.#directory, volume));
  }

  /** Users that an earlier engine has left and that this one has not had again. */
  async inherited(): Promise<{ volume: string; user: string }[]> {
    const found: { volume: string; user: string }[] = [];
    for (const volume of await names(this.#directory)) {
      for (const user of await this.of(volume)) if (!this.#own.has(`${volume}/${user}`)) found.push({ volume, user });
    }
    return found;
  }
}

async function names(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
