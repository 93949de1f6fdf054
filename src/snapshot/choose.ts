import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ByteString } from '../base/bytes.ts';
import { EngineError, isErrno } from '../base/errors.ts';
import { mountFilesystem, unmountIfMounted } from '../kernel/mount.ts';
import { type Hex, sha256 } from '../oci/digest.ts';
import { type Entry, EntryType, type Meta, type Root, type TreeId } from '../store/model.ts';
import { makeErofsImage } from './erofs/writer.ts';
import { mountOverlay } from './overlay/mount.ts';

export type SnapshotterName = 'erofs-overlay' | 'hardlink-overlay';
/** `reason` is a sentence for people: what was tried, and what the kernel said when the better way did not work. */
export type SnapshotterChoice = { readonly name: SnapshotterName; readonly reason: string };

/** `used`: the driver of earlier snapshots. A full disk must not keep the engine from starting: it is how containers are removed. */
type ChooseOptions = { workDirectory: string; runDirectory: string; used?: SnapshotterName | undefined };

/**
 * Finds the best driver that works on this host by mounting a tree of one file with each, reading it and writing to it. `workDirectory`
 * is on the store's file system, `runDirectory` where mounts will lie; both exist. Takes a few milliseconds and leaves nothing. Throws
 * Unavailable `SNAPSHOTTER_NONE` with the reasons when no driver works.
 */
export function chooseSnapshotter(options: ChooseOptions): SnapshotterChoice {
  try {
    return chooseByTrying(options);
  } catch (error) {
    if (options.used === undefined || !isErrno(error, 'ENOSPC', 'EDQUOT')) throw error;
    return { name: options.used, reason: 'there is no room to try others, and the snapshots that are here were made with it' };
  }
}

function chooseByTrying(options: ChooseOptions): SnapshotterChoice {
  const erofs = attempt(options, tryErofs);
  if (erofs === undefined) {
    return { name: 'erofs-overlay', reason: 'an EROFS image mounts from a file, and overlayfs finds its data in the object store' };
  }
  const hardlink = attempt(options, tryHardlink);
  if (hardlink === undefined) {
    return { name: 'hardlink-overlay', reason: `erofs-overlay does not work here (${erofs}); Linux 6.12 or later with EROFS has it` };
  }
  throw new EngineError(
    'Unavailable',
    'SNAPSHOTTER_NONE',
    `no snapshotter works on this host: erofs-overlay: ${erofs}; hardlink-overlay: ${hardlink}`,
    {
      hint: 'The engine needs root, the overlay file system (modprobe overlay), and a root directory on ext4, xfs or btrfs, not on another overlay.',
    },
  );
}

type Probe = { folder: string; rootfs: string; lowerMount: string };

/** What went wrong, in words; undefined when all went well. */
function attempt(options: ChooseOptions, prepare: (probe: Probe) => { lower: string; data?: string }): string | undefined {
  const folder = mkdtempSync(join(options.workDirectory, 'probe-'));
  const mounts = mkdtempSync(join(options.runDirectory, 'probe-'));
  const probe = { folder, rootfs: join(mounts, 'rootfs'), lowerMount: join(mounts, 'lower') };
  try {
    for (const path of [probe.rootfs, probe.lowerMount, join(folder, 'upper'), join(folder, 'work')]) mkdirSync(path);
    const layers = prepare(probe);
    mountOverlay({
      ...layers,
      upper: join(folder, 'upper'),
      work: join(folder, 'work'),
      target: probe.rootfs,
      index: true,
      volatile: true,
    });
    const file = join(probe.rootfs, fileName);
    if (readFileSync(file, 'latin1') !== content) return 'the mount succeeds, but a file does not read back as stored';
    appendFileSync(file, 'x');
    return readFileSync(file, 'latin1') === `${content}x` ? undefined : 'a file that was written does not read back';
  } catch (error) {
    // Says nothing about the driver, and must not make an engine change it.
    if (isErrno(error, 'ENOSPC', 'EDQUOT')) throw error;
    return inWords(error, folder, mounts);
  } finally {
    unmountIfMounted(probe.rootfs);
    unmountIfMounted(probe.lowerMount);
    rmSync(mounts, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  }
}

function inWords(error: unknown, ...folders: string[]): string {
  if (isErrno(error, 'ENOTBLK'))
    return 'an EROFS image needs a block device here: the kernel is too old, or the root directory is on another overlay';
  if (isErrno(error, 'ENODEV')) return 'the kernel has no such file system';
  if (isErrno(error, 'EPERM')) return 'mounting is not permitted';
  const message = error instanceof Error ? error.message : String(error);
  return folders.reduce((text, folder) => text.replaceAll(folder, ''), message);
}

const fileName = 'probe';
const content = 'what a probe reads back\n';

function tryErofs({ folder, lowerMount }: Probe): { lower: string; data: string } {
  const object = sha256(content);
  const data = join(folder, 'objects');
  mkdirSync(join(data, object.slice(0, 2)), { recursive: true });
  writeFileSync(join(data, object.slice(0, 2), object.slice(2)), content);
  const image = makeErofsImage(treeOfOneFile(object), object as string as TreeId);
  const path = join(folder, 'image');
  writeFileSync(path, Buffer.concat([image.meta, image.blocks]));
  mountFilesystem({ type: 'erofs', source: path, options: [], target: lowerMount, readOnly: true });
  return { lower: lowerMount, data };
}

function tryHardlink({ folder }: Probe): { lower: string } {
  const lower = join(folder, 'lower');
  mkdirSync(lower);
  writeFileSync(join(lower, fileName), content);
  return { lower };
}

function treeOfOneFile(object: Hex): { root(id: TreeId): Root; node(full: Hex): readonly Entry[] } {
  const meta: Meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };
  const file: Entry = { ...meta, type: EntryType.file, name: fileName as ByteString, size: content.length, object };
  return { root: () => ({ ...meta, full: object, content: object, hardlinks: [] }), node: () => [file] };
}
