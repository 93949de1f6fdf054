import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Hex } from '../oci/digest.ts';
import type { StorePaths } from './port.ts';

export function storePaths(root: string): StorePaths {
  return {
    root,
    objects: join(root, 'objects'),
    inodes: join(root, 'inodes'),
    blobs: join(root, 'blobs'),
    erofs: join(root, 'erofs'),
    statCache: join(root, 'statcache'),
    snapshots: join(root, 'snapshots'),
    containers: join(root, 'containers'),
    volumes: join(root, 'volumes'),
    tmp: join(root, 'tmp'),
    database: join(root, 'metadata.db'),
  };
}

/** Where an object lies: two digits, a slash, 62 digits. */
export function objectPath(paths: StorePaths, object: Hex): string {
  return `${paths.objects}/${object.slice(0, 2)}/${object.slice(2)}`;
}

/** Makes what is missing. Only root may look inside: images hold secrets of their owners. */
export function createLayout(paths: StorePaths): void {
  // Others may pass through, so that a mount below can be reached by an unprivileged helper, but not list.
  mkdirSync(paths.root, { recursive: true, mode: 0o711 });
  for (const folder of [paths.inodes, paths.erofs, paths.statCache, paths.snapshots, paths.containers, paths.volumes, paths.tmp]) {
    mkdirSync(folder, { recursive: true, mode: 0o711 });
  }
  mkdirSync(join(paths.blobs, 'sha256'), { recursive: true, mode: 0o700 });
  mkdirSync(paths.objects, { recursive: true, mode: 0o700 });
  const present = new Set(readdirSync(paths.objects));
  for (let prefix = 0; prefix < 256; prefix++) {
    const name = prefix.toString(16).padStart(2, '0');
    if (!present.has(name)) mkdirSync(join(paths.objects, name), { recursive: true, mode: 0o700 });
  }
}

/** Removes what jobs of an engine that died had under way. */
export function emptyTmp(paths: StorePaths): void {
  for (const name of readdirSync(paths.tmp)) rmSync(join(paths.tmp, name), { recursive: true, force: true });
}
