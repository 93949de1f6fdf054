import { createHash } from 'node:crypto';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listXattrs } from '../../src/kernel/xattr.ts';

export const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };

/** A folder that goes away at the end: `using folder = temporaryFolder()`. */
export function temporaryFolder(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), 'slipway-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export type FileState = {
  mode: number;
  owner: string;
  mtimeNs: bigint;
  xattrs: readonly (readonly [string, string])[];
  body: string;
  /** The first name of the same inode. */
  sameAs: string;
  /** Whether blocks are missing. */
  sparse: boolean;
};

/** Everything that can be told of a directory tree, by path (bytes as latin1; '' is the top). */
export function describeFolder(top: string): Map<string, FileState> {
  const states = new Map<string, FileState>();
  const inodes = new Map<string, string>();
  const visit = (path: string) => {
    const host = path === '' ? Buffer.from(top) : Buffer.concat([Buffer.from(`${top}/`), Buffer.from(path, 'latin1')]);
    const stat = lstatSync(host, { bigint: true });
    const inode = `${stat.dev}:${stat.ino}`;
    if (!stat.isDirectory() && !inodes.has(inode)) inodes.set(inode, path);
    states.set(path, {
      mode: Number(stat.mode),
      owner: `${stat.uid}:${stat.gid}`,
      mtimeNs: stat.mtimeNs,
      xattrs: listXattrs(host).filter(([name]) => name !== 'security.selinux'),
      body: bodyOf(host, stat),
      sameAs: inodes.get(inode) ?? path,
      sparse: stat.isFile() && stat.blocks * 512n < stat.size,
    });
    if (!stat.isDirectory()) return;
    const names = readdirSync(host, { encoding: 'buffer' }).map((name) => name.toString('latin1'));
    for (const name of names.sort()) visit(path === '' ? name : `${path}/${name}`);
  };
  visit('');
  return states;
}

function bodyOf(host: Buffer, stat: ReturnType<typeof lstatSync>): string {
  if (stat === undefined) return '';
  if (stat.isSymbolicLink()) return readlinkSync(host, { encoding: 'buffer' }).toString('latin1');
  if (stat.isCharacterDevice() || stat.isBlockDevice()) return String(stat.rdev);
  return stat.isFile() ? createHash('sha256').update(readFileSync(host)).digest('hex') : '';
}
