import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import type { TreeId } from '../../store/model.ts';
import type { StorePaths, TreeContext } from '../../store/port.ts';
import { decodeInfo, encodeInfo, imageSize, type ProjectionInfo, superblockBytes, superblockOffset, writerVersion } from './format.ts';
import { makeErofsImage } from './writer.ts';

/** An image that survives a crash of the host. */
export function lastingImage(paths: Pick<StorePaths, 'erofs'>, tree: TreeId): string {
  return join(paths.erofs, `${tree}.img`);
}

/**
 * An image that is whole while the host runs but may not have reached the disk. The boot's identity is in its name, so that after a crash
 * it is not taken for whole.
 */
export function unsyncedImage(paths: Pick<StorePaths, 'erofs'>, tree: TreeId): string {
  return join(paths.erofs, `${tree}.${bootId()}${unsyncedSuffix}`);
}
const unsyncedSuffix = '.new';

let knownBootId: string | undefined;
function bootId(): string {
  knownBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return knownBootId;
}

/** Removes what an earlier boot left unsynced. */
export function removeStaleImages(paths: Pick<StorePaths, 'erofs'>): void {
  for (const name of readdirSync(paths.erofs)) {
    if (name.endsWith(unsyncedSuffix) && !name.endsWith(`.${bootId()}${unsyncedSuffix}`)) rmSync(join(paths.erofs, name), { force: true });
  }
}

/** What a whole image of `tree` by this writer says of itself; undefined when the file is missing, torn or another's. */
export function readImageInfo(path: string, tree: TreeId): ProjectionInfo | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    const start = Buffer.alloc(superblockOffset + superblockBytes);
    if (readSync(fd, start, 0, start.length, 0) !== start.length) return undefined;
    return imageSize(start) === fstatSync(fd).size ? decodeInfo(start, tree) : undefined;
  } finally {
    closeSync(fd);
  }
}

/** Writes the image of a tree to `unsyncedImage`. */
export function writeImage(context: TreeContext, tree: TreeId): void {
  const image = makeErofsImage(context, tree);
  const canary = image.canaries.find(({ object }) => startsWithData(context.objectPath(object)));
  const info: ProjectionInfo = { version: writerVersion, tree, hardlinks: context.root(tree).hardlinks.length > 0, canary };
  encodeInfo(info).copy(image.meta);
  const temporary = join(context.tmpDir, 'erofs');
  const fd = openSync(temporary, 'wx', 0o600);
  try {
    writeAll(fd, image.meta);
    writeAll(fd, image.blocks);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, unsyncedImage(context.paths, tree));
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
}

/** A file that starts with zeros would look the same when its content were missing. */
function startsWithData(path: string): boolean {
  const fd = openSync(path, 'r');
  try {
    const start = Buffer.alloc(512);
    readSync(fd, start, 0, start.length, 0);
    return start.some((byte) => byte !== 0);
  } finally {
    closeSync(fd);
  }
}
