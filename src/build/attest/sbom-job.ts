import { closeSync, copyFileSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { toText } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { goModules } from './packages/go.ts';
import { isNpmManifest, isPythonMetadata, npmPackage, pythonPackage } from './packages/languages.ts';
import type { DatabaseFile, Package } from './packages/model.ts';
import { rpmPackages } from './packages/rpm.ts';
import { apkPackages, dpkgPackages, osRelease } from './packages/system.ts';
import { spdxDocument } from './spdx.ts';

export type SbomParams = { tree: TreeId; content: Hex; created: string };
export type SbomResult = { json: string; packages: number };

type File = Extract<Entry, { type: typeof EntryType.file }>;
type Found = { readonly path: string; readonly file: File };

const rpmDatabases = ['var/lib/rpm/rpmdb.sqlite', 'usr/lib/sysimage/rpm/rpmdb.sqlite'];
const apkDatabases = ['lib/apk/db/installed', 'usr/lib/apk/db/installed'];
const maxTextBytes = 64 * 1024 * 1024;
/** Smaller than any program that Go's linker writes. */
const leastProgramBytes = 256 * 1024;
const mostPackages = 500_000;

/** `build.sbom`: what is installed in a tree, by the package databases that are in it, as an SPDX 2.3 document. What cannot be read is left out: a database is data of the image, and may be anything. */
export function sbom(context: TreeContext, { tree, content, created }: SbomParams): SbomResult {
  const release = osReleaseOf(context, tree);
  const packages: Package[] = [];
  for (const found of filesOf(context, tree)) {
    if (packages.length >= mostPackages) break;
    for (const each of packagesOf(context, found, release.get('ID'))) packages.push(each);
  }
  packages.sort((a, b) => compare(a.kind, b.kind) || compare(a.name, b.name) || compare(a.version, b.version) || compare(a.path, b.path));
  return { json: JSON.stringify(spdxDocument({ packages, release, content, created })), packages: packages.length };
}

function packagesOf(context: TreeContext, { path, file }: Found, namespace: string | undefined): Package[] {
  const text = (): DatabaseFile => ({ path, text: file.size > maxTextBytes ? '' : readFileSync(context.objectPath(file.object), 'utf8') });
  const one = (found: Package | undefined) => (found === undefined ? [] : [found]);
  if (path === 'var/lib/dpkg/status' || (path.startsWith('var/lib/dpkg/status.d/') && !path.endsWith('.md5sums'))) {
    return dpkgPackages(text(), namespace);
  }
  if (apkDatabases.includes(path)) return apkPackages(text(), namespace);
  if (rpmDatabases.includes(path)) return rpmOf(context, { path, file }, namespace);
  if (isNpmManifest(path)) return one(npmPackage(text()));
  if (isPythonMetadata(path)) return one(pythonPackage(text()));
  if ((file.mode & 0o111) !== 0 && file.size >= leastProgramBytes && isElf(context.objectPath(file.object))) {
    return goModules(context.objectPath(file.object), path);
  }
  return [];
}

/** SQLite makes files beside the one that it opens, so it gets a copy. */
function rpmOf(context: TreeContext, { path, file }: Found, namespace: string | undefined): Package[] {
  const copy = join(context.tmpDir, 'rpmdb.sqlite');
  copyFileSync(context.objectPath(file.object), copy);
  try {
    return rpmPackages(copy, path, namespace);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_SQLITE_ERROR') return [];
    throw error;
  }
}

function isElf(file: string): boolean {
  const fd = openSync(file, 'r');
  try {
    const head = Buffer.alloc(4);
    return readSync(fd, head, 0, 4, 0) === 4 && head.readUInt32BE(0) === 0x7f454c46;
  } finally {
    closeSync(fd);
  }
}

/** /etc/os-release is a link to the one in /usr/lib in most distributions. */
function osReleaseOf(context: TreeContext, tree: TreeId): ReadonlyMap<string, string> {
  for (const path of [
    ['usr', 'lib', 'os-release'],
    ['etc', 'os-release'],
  ]) {
    let node: readonly Entry[] | undefined = context.node(context.root(tree).full);
    for (const name of path) {
      const entry: Entry | undefined = node?.find((each) => toText(each.name) === name);
      if (entry?.type === EntryType.file && entry.size <= 64 * 1024)
        return osRelease(readFileSync(context.objectPath(entry.object), 'utf8'));
      node = entry?.type === EntryType.directory ? context.node(entry.full) : undefined;
    }
  }
  return new Map();
}

/** In the order of a walk, each with its path without leading slash. */
export function* filesOf(context: TreeContext, tree: TreeId): Generator<Found> {
  const open: { path: string; full: Hex }[] = [{ path: '', full: context.root(tree).full }];
  for (let folder = open.pop(); folder !== undefined; folder = open.pop()) {
    const below: typeof open = [];
    for (const entry of context.node(folder.full)) {
      const path = folder.path === '' ? toText(entry.name) : `${folder.path}/${toText(entry.name)}`;
      if (entry.type === EntryType.directory) below.push({ path, full: entry.full });
      else if (entry.type === EntryType.file) yield { path, file: entry };
    }
    open.push(...below.reverse());
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
