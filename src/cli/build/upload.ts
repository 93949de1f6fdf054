import { promises as fs } from 'node:fs'; // node:fs/promises would be loaded by every command of the bundle
import { isErrno } from '../../base/errors.ts';
import { createIgnore, type Ignore } from '../../oci/ignore.ts';
import { endOfArchive } from '../../oci/tar/writer.ts';

/** Names that no ignoring takes away: what says how the rest is to be read. */
export function alwaysSent(dockerfile: string): string[] {
  return dockerfile === '' ? ['.dockerignore'] : [dockerfile, `${dockerfile}.dockerignore`, '.dockerignore'];
}

export async function* emptyTar(): AsyncGenerator<Uint8Array, void, undefined> {
  yield endOfArchive;
}

/** `<Dockerfile>.dockerignore` wins over `.dockerignore`. */
export async function readIgnore(directory: string, dockerfile: string): Promise<Ignore> {
  for (const name of alwaysSent(dockerfile).slice(dockerfile === '' ? 0 : 1)) {
    try {
      return createIgnore((await fs.readFile(`${directory}/${name}`, 'utf8')).split(/\r?\n/));
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
  return createIgnore([]);
}
