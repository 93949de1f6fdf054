import { spawn } from 'node:child_process';
import { chmodSync, closeSync } from 'node:fs';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { lchown, setTimes, statPath } from '../../kernel/files.ts';
import type { FileStat } from '../../kernel/stat.ts';
import { listXattrs, setXattr, type XattrPair } from '../../kernel/xattr.ts';
import { InRoot } from '../spec/in-root.ts';
import type { VolumePlace } from '../volume-mounts.ts';

/** What a crash leaves of it is removed by the volumes' driver at the next start. */
const fillPrefix = '.fill-';

/**
 * Fills a volume with what the image has at its destination, on first use: when the volume is empty. Owners, modes, times, attributes and
 * hardlinks come along. Done by `cp`, outside the event loop and with names as bytes; where the volume has a staging folder, there, and then moved name by
 * name: another container that has the volume already could put a symlink in the way of a copy, but not of a rename.
 */
export async function copyUp(rootfs: string, destination: string, { path, staging }: VolumePlace): Promise<void> {
  if ((await readdir(path)).length > 0) return;
  using root = new InRoot(rootfs);
  if (!root.stat(destination)?.isDirectory()) return;
  const source = root.open(destination);
  if (source === undefined) return;
  try {
    if (staging === undefined) await copy(source, path);
    else await copyThrough(source, path, staging);
  } finally {
    closeSync(source);
  }
}

async function copyThrough(source: number, target: string, staging: string): Promise<void> {
  const folder = await mkdtemp(join(staging, fillPrefix));
  try {
    await copy(source, folder);
    // Before names are moved out of it, which changes its time.
    const meta = statPath(folder);
    for (const name of await readdir(folder, { encoding: 'buffer' })) {
      const at = (directory: string) => Buffer.concat([Buffer.from(`${directory}/`), name]);
      // Somebody was faster: the volume is not empty any more, and what it has stays.
      await rename(at(folder), at(target)).catch(ignore('ENOTEMPTY', 'EEXIST', 'EISDIR', 'ENOTDIR'));
    }
    setMeta(target, meta, listXattrs(folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Owner first: changing it clears bits of the mode. */
function setMeta(path: string, { uid, gid, mode, mtimeSec, mtimeNsec }: FileStat, xattrs: readonly XattrPair[]): void {
  lchown(path, uid, gid);
  chmodSync(path, mode & 0o7777);
  for (const [name, value] of xattrs) if (!name.startsWith('trusted.')) setXattr(path, name, value);
  setTimes(path, mtimeSec, mtimeNsec);
}

function ignore(...codes: string[]): (error: unknown) => void {
  return (error) => {
    if (!isErrno(error, ...codes)) throw error;
  };
}

/** The source is a descriptor, so that nothing swapped in its path meanwhile is followed. */
function copy(source: number, target: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('cp', ['-a', '--reflink=auto', '/proc/self/fd/3/.', `${target}/`], { stdio: ['ignore', 'ignore', 'pipe', source] });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(0, 4_096);
    });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve();
      else
        reject(new EngineError('Internal', 'COPY_UP_FAILED', `cannot copy the image's files into the volume at ${target}: ${said.trim()}`));
    });
  });
}
