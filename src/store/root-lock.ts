import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { flockExclusive } from '../kernel/files.ts';
import { storeIsNewer } from './database/schema.ts';

/** Version of the layout under the root: docs/formats/store.md. The database has a schema version of its own. */
export const layoutVersion = 1;

/**
 * Takes `<root>/lock` for this process's life and writes its pid there. Conflict `ROOT_IN_USE` names the process that holds it.
 * The lock goes with the open file, so a killed daemon leaves none. The caller ends it with the returned function.
 */
export function lockRoot(root: string): () => void {
  const path = join(root, 'lock');
  const fd = openSync(path, 'a+', 0o644);
  if (!flockExclusive(fd)) {
    const pid = readFileSync(path, 'utf8').trim();
    closeSync(fd);
    throw new EngineError('Conflict', 'ROOT_IN_USE', `${root} is in use by another Slipway daemon${pid === '' ? '' : ` (pid ${pid})`}`, {
      hint: 'Stop that one first, or give this one its own --root and --run.',
    });
  }
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid}\n`);
  return () => closeSync(fd);
}

/** Checks `<root>/version`, and writes it in a new root. Unsupported `STORE_NEWER` before anything is touched that a newer engine wrote. */
export function checkVersion(root: string): void {
  const path = join(root, 'version');
  const found = readVersion(path);
  if (found === undefined) writeDurably(path, `${layoutVersion}\n`);
  else if (found > layoutVersion) throw storeIsNewer(root, found, layoutVersion);
}

function readVersion(path: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw new EngineError('DataLoss', 'STORE_VERSION_INVALID', `${path} holds "${text.slice(0, 40)}" instead of a version number`, {
    hint: `If this folder is a Slipway root, write ${layoutVersion} into that file; if it is something else, choose another --root.`,
  });
}

function writeDurably(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, text);
  const fd = openSync(temporary, 'r');
  fsyncSync(fd);
  closeSync(fd);
  renameSync(temporary, path);
}
