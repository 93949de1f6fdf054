import { appendFile, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno } from '../base/errors.ts';
import type { Collection } from './port.ts';

const limitBytes = 4 * 1024 * 1024;

/** What collections did: a JSON record a line, the latest last. Bounded: the older half goes when the file is large. */
export class History {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async add(collection: Collection): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    await appendFile(this.#path, `${JSON.stringify(collection)}\n`, { mode: 0o600 });
    if ((await stat(this.#path)).size <= limitBytes) return;
    const lines = (await this.#text()).split('\n').filter((line) => line !== '');
    await writeFile(
      `${this.#path}.new`,
      lines
        .slice(Math.floor(lines.length / 2))
        .join('\n')
        .concat('\n'),
      { mode: 0o600 },
    );
    await rename(`${this.#path}.new`, this.#path);
  }

  /** The latest first. */
  async list(): Promise<Collection[]> {
    const lines = (await this.#text()).split('\n');
    return lines.flatMap((line) => parsed(line) ?? []).reverse();
  }

  async #text(): Promise<string> {
    try {
      return await readFile(this.#path, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return '';
      throw error;
    }
  }
}

/** A line that a crash tore is none. */
function parsed(line: string): Collection | undefined {
  try {
    return JSON.parse(line) as Collection;
  } catch {
    return undefined;
  }
}
