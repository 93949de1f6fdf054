import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SlipwayDf } from '../api-types/own.ts';
import { isErrno } from '../base/errors.ts';
import type { StorePaths } from '../store/port.ts';

/** What lies under the engine's root, by kind, in bytes of blocks. Walks asynchronously, so the event loop stays free however much there is. */
export async function diskUsage(paths: StorePaths): Promise<SlipwayDf> {
  const rows: SlipwayDf['rows'] = [];
  const kinds: [kind: string, ...folders: string[]][] = [
    ['objects', paths.objects],
    ['erofs', paths.erofs],
    ['blobs', paths.blobs],
    ['containers', paths.snapshots, paths.containers],
    ['volumes', paths.volumes],
  ];
  for (const [kind, ...folders] of kinds) {
    const row = { kind, count: 0, bytes: 0 };
    for (const folder of folders) await addFolder(folder, row);
    rows.push(row);
  }
  const database = { kind: 'database', count: 0, bytes: 0 };
  for (const suffix of ['', '-wal', '-shm']) await addFile(paths.database + suffix, database);
  rows.push(database);
  return { rows, totalBytes: rows.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Bytes of blocks below a folder; 0 when there is none. */
export async function folderBytes(path: string): Promise<number> {
  const sum = { count: 0, bytes: 0 };
  await addFolder(path, sum);
  return sum.bytes;
}

type Sum = { count: number; bytes: number };

async function addFolder(path: string, sum: Sum): Promise<void> {
  try {
    const names: string[] = [];
    for await (const entry of await opendir(path)) {
      if (entry.isDirectory()) await addFolder(join(path, entry.name), sum);
      else names.push(entry.name);
      if (names.length >= 64) await Promise.all(names.splice(0).map((name) => addFile(join(path, name), sum)));
    }
    await Promise.all(names.map((name) => addFile(join(path, name), sum)));
  } catch (error) {
    // Removed while we looked: it holds nothing any more.
    if (!isErrno(error, 'ENOENT')) throw error;
  }
}

async function addFile(path: string, sum: Sum): Promise<void> {
  try {
    const { blocks } = await lstat(path);
    sum.count += 1;
    sum.bytes += blocks * 512;
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
}
