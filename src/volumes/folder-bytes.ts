import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';

const width = 64;

/** Bytes of blocks of everything in a folder, a file with several names once. Asynchronous: the event loop stays free however much there is. */
export async function folderBytes(path: string): Promise<number> {
  const linked = new Set<string>();
  let bytes = 0;
  const add = async (file: string) => {
    const { blocks, nlink, dev, ino } = await lstat(file);
    if (nlink > 1) {
      const key = `${dev}:${ino}`;
      if (linked.has(key)) return;
      linked.add(key);
    }
    bytes += blocks * 512;
  };
  const folders = [path];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const files: string[] = [];
    try {
      for await (const entry of await opendir(folder)) {
        const inside = join(folder, entry.name);
        if (entry.isDirectory()) folders.push(inside);
        else files.push(inside);
        if (files.length >= width) await Promise.all(files.splice(0).map((file) => ignoreGone(add(file))));
      }
      await Promise.all(files.map((file) => ignoreGone(add(file))));
    } catch (error) {
      // Removed while we looked: it holds nothing any more.
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
  return bytes;
}

async function ignoreGone(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
}
