import { promises as fs } from 'node:fs'; // node:fs/promises would be loaded by every command of the bundle
import { isErrno } from '../../base/errors.ts';
import { createIgnore, type Ignore } from '../../oci/ignore.ts';
import { endOfArchive } from '../../oci/tar/writer.ts';
import { tarOf } from '../local-tar.ts';

/**
 * A build context as a tar, for a daemon that does not see the folder: what its .dockerignore keeps, the Dockerfile and the .dockerignore in any case.
 */
export async function* tarContext(directory: string, dockerfile: string): AsyncGenerator<Uint8Array, void, undefined> {
  const ignore = await readIgnore(directory, dockerfile);
  yield* tarOf(directory, { ignore, always: [dockerfile, `${dockerfile}.dockerignore`, '.dockerignore'] });
}

export async function* emptyTar(): AsyncGenerator<Uint8Array, void, undefined> {
  yield endOfArchive;
}

/** `<Dockerfile>.dockerignore` wins over `.dockerignore`. */
async function readIgnore(directory: string, dockerfile: string): Promise<Ignore> {
  for (const name of [`${dockerfile}.dockerignore`, '.dockerignore']) {
    try {
      return createIgnore((await fs.readFile(`${directory}/${name}`, 'utf8')).split(/\r?\n/));
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
  return createIgnore([]);
}
