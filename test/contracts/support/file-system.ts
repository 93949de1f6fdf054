import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { ByteString } from '../../../src/base/bytes.ts';
import { DirectoryReader } from '../../../src/kernel/directory.ts';
import { seekHoles } from '../../../src/kernel/files.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/kernel/stat.ts';
import { listXattrs } from '../../../src/kernel/xattr.ts';

/** A file system as comparable lines: one for each path, with all that can be seen of it but inode numbers and link counts. */
export function scan(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  const groups = new Map<string, string[]>();
  const reader = new DirectoryReader();
  const visit = (path: string) => {
    const fd = reader.open(raw(root, path));
    const names = reader.read(fd).sort();
    for (const name of names) {
      const child = path === '' ? name : `${path}/${name}`;
      const stat = reader.statAt(fd, name);
      const type = stat.mode & S_IFMT;
      if (type !== S_IFDIR && stat.nlink > 1) groups.set(stat.inodeKey, [...(groups.get(stat.inodeKey) ?? []), child]);
      const line = describe(reader, stat.mode);
      if (type === S_IFREG) found[child] = `${line} ${content(raw(root, child), stat.size)}`;
      else if (type === S_IFLNK) found[child] = `${line} -> ${reader.readLinkAt(fd, name)}`;
      else if (type === S_IFCHR || type === S_IFBLK) found[child] = `${line} ${reader.stat.rdevMajor}:${reader.stat.rdevMinor}`;
      else found[child] = line;
      found[child] += xattrs(raw(root, child));
      if (type === S_IFDIR) visit(child);
    }
    reader.close(fd);
  };
  const fd = reader.open(root);
  const rootStat = reader.statFd(fd);
  found['.'] = describe(reader, rootStat.mode) + xattrs(Buffer.from(root));
  reader.close(fd);
  visit('');
  for (const paths of groups.values()) if (paths.length > 1) for (const path of paths) found[path] += ` = ${paths.join(' = ')}`;
  return found;
}

/** A host path from text and a path in bytes. */
export function raw(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path as ByteString, 'latin1')]);
}

function describe({ stat }: DirectoryReader, mode: number): string {
  return `${mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.mtimeSec}.${String(stat.mtimeNsec).padStart(9, '0')}`;
}

function xattrs(path: Buffer): string {
  return listXattrs(path)
    .map(
      ([name, value]) =>
        ` ${name}=${value.length > 64 ? createHash('sha256').update(value, 'latin1').digest('hex') : JSON.stringify(value)}`,
    )
    .join('');
}

/** Size and digest; of a large file only the parts that hold data. */
function content(path: Buffer, size: number): string {
  const fd = openSync(path, 'r');
  try {
    const hash = createHash('sha256');
    const buffer = Buffer.alloc(1 << 16);
    const extents = size > 1 << 28 ? seekHoles(fd, size) : [[0, size] as const];
    for (const [start, end] of extents) {
      for (let at: number = start; at < end; ) {
        const count = readSync(fd, buffer, 0, Math.min(buffer.length, end - at), at);
        if (count === 0) break;
        // Zeros at the end of an extent are a hole elsewhere: only what is not zero tells two large files apart.
        if (size <= 1 << 28 || buffer.subarray(0, count).some((byte) => byte !== 0)) hash.update(buffer.subarray(0, count));
        at += count;
      }
    }
    return `${size} ${hash.digest('hex').slice(0, 12)}`;
  } finally {
    closeSync(fd);
  }
}
