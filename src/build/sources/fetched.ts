import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { sha256 } from '../../oci/digest.ts';

/** What a URL gave when it was last asked for. */
export type Fetched = {
  readonly url: string;
  /** `sha256:…` of the bytes. */
  readonly digest: string;
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
};

const entryLimit = 4_096;

/**
 * One small JSON file a URL. Losing one costs a download, so they are not synced; a damaged one is as good as none.
 */
export class FetchedUrls {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async get(url: string): Promise<Fetched | undefined> {
    try {
      const parsed: unknown = JSON.parse(await readFile(this.#path(url), 'utf8'));
      return isFetched(parsed) && parsed.url === url ? parsed : undefined;
    } catch (error) {
      if (error instanceof SyntaxError || isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  async put(fetched: Fetched): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const path = this.#path(fetched.url);
    await writeFile(`${path}.new`, JSON.stringify(fetched), { mode: 0o600 });
    await rename(`${path}.new`, path);
    await this.#prune();
  }

  #path(url: string): string {
    return join(this.#directory, `${sha256(url)}.json`);
  }

  /** The half that was asked for least recently goes when there are too many. */
  async #prune(): Promise<void> {
    const names = await readdir(this.#directory);
    if (names.length <= entryLimit) return;
    const aged = await Promise.all(
      names.map(async (name) => ({ name, at: (await stat(join(this.#directory, name)).catch(() => undefined))?.mtimeMs ?? 0 })),
    );
    aged.sort((a, b) => a.at - b.at);
    for (const { name } of aged.slice(0, entryLimit / 2)) await rm(join(this.#directory, name), { force: true });
  }
}

function isFetched(value: unknown): value is Fetched {
  if (typeof value !== 'object' || value === null) return false;
  const { url, digest, etag, lastModified } = value as Record<string, unknown>;
  const isOptionalText = (text: unknown) => text === undefined || typeof text === 'string';
  return typeof url === 'string' && typeof digest === 'string' && isOptionalText(etag) && isOptionalText(lastModified);
}
