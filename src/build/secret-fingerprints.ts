import { createHmac, randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno } from '../base/errors.ts';
import type { SecretSource } from './secrets.ts';

const keyBytes = 32;

/**
 * What stands for a secret's value in the keys of steps that depend on it: an HMAC-SHA256 under a key that is made once for each engine root and never leaves it (0600). Whoever sees an
 * action cache cannot try values against it, nor can another host's cache tell that a value is the same.
 */
export class SecretFingerprints {
  readonly #path: string;
  #key: Promise<Buffer> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** One that is not there is as good as a value of its own. */
  async of(id: string, source: SecretSource | undefined): Promise<string> {
    const value = await source?.get(id);
    if (value === undefined) return 'absent';
    this.#key ??= this.#load();
    return createHmac('sha256', await this.#key)
      .update(`${id}\0`)
      .update(value)
      .digest('hex');
  }

  async #load(): Promise<Buffer> {
    try {
      return await this.#read();
    } catch (error) {
      this.#key = undefined;
      throw error;
    }
  }

  async #read(): Promise<Buffer> {
    for (;;) {
      try {
        const key = await readFile(this.#path);
        if (key.length === keyBytes) return key;
        // Torn: with a new one the steps run once more.
        await rm(this.#path, { force: true });
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error;
      }
      await this.#make();
    }
  }

  /** Under its name only when it is whole and on the disk; the first one stays. */
  async #make(): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const temporary = `${this.#path}.${randomBytes(8).toString('hex')}`;
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(randomBytes(keyBytes));
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      await link(temporary, this.#path);
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
    } finally {
      await rm(temporary, { force: true });
    }
  }
}
