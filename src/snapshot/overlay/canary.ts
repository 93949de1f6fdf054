import { closeSync, lstatSync, openSync, readSync } from 'node:fs';
import type { ByteString } from '../../base/bytes.ts';
import { toText } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { O, openIn } from '../../kernel/files.ts';
import { getXattr } from '../../kernel/xattr.ts';
import type { ProjectionInfo } from '../erofs/format.ts';

const comparedBytes = 4096;

/**
 * Reads the projection's canary through the mount and compares it with its object. A wrong set of mount options succeeds and then shows
 * files of the right length that read as zeros; a lost object shows only when it is opened. `upper` is given for a layer that a container
 * has had: where it may have changed the file, nothing can be said. Throws DataLoss `SNAPSHOT_UNREADABLE`.
 */
export function checkCanary(info: ProjectionInfo, paths: { rootfs: string; objects: string; upper?: string | undefined }): void {
  const { canary } = info;
  if (canary === undefined || (paths.upper !== undefined && mayHaveChanged(paths.upper, canary.path))) return;
  const object = `${paths.objects}/${canary.object.slice(0, 2)}/${canary.object.slice(2)}`;
  try {
    const root = openSync(paths.rootfs, O.RDONLY | O.DIRECTORY);
    try {
      const seen = readStart(openIn(root, Buffer.from(canary.path, 'latin1'), O.RDONLY | O.NOFOLLOW));
      if (seen.equals(readStart(openSync(object, O.RDONLY)))) return;
    } finally {
      closeSync(root);
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'EIO', 'ENOTDIR', 'ELOOP', 'EUCLEAN')) throw error;
    throw unreadable(info, canary.path, error);
  }
  throw unreadable(info, canary.path);
}

function unreadable(info: ProjectionInfo, path: string, cause?: unknown): EngineError {
  return new EngineError(
    'DataLoss',
    'SNAPSHOT_UNREADABLE',
    `the tree ${info.tree.slice(0, 12)} is mounted, but /${toText(path as ByteString)} does not read back as stored`,
    { hint: 'Run "slipway doctor". If objects are missing from the store, load or build the image again.', cause },
  );
}

/** Closes the descriptor. */
function readStart(fd: number): Buffer {
  try {
    const buffer = Buffer.alloc(comparedBytes);
    return buffer.subarray(0, readSync(fd, buffer, 0, comparedBytes, 0));
  } finally {
    closeSync(fd);
  }
}

/** Whether the upper layer has the file, hides a directory on the way to it, or shows another one in its place. */
function mayHaveChanged(upper: string, path: string): boolean {
  let at = upper;
  for (const name of path.split('/')) {
    at = `${at}/${name}`;
    const raw = Buffer.from(at, 'latin1');
    try {
      if (!lstatSync(raw).isDirectory()) return true;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return false;
      throw error;
    }
    if (getXattr(raw, 'trusted.overlay.opaque') === 'y' || getXattr(raw, 'trusted.overlay.redirect') !== undefined) return true;
  }
  return true;
}
