import { closeSync, openSync, rmdirSync } from 'node:fs';
import { isErrno } from '../../base/errors.ts';
import { O } from '../../kernel/files.ts';
import { type FilesystemOption, mount, mountFilesystem } from '../../kernel/mount.ts';

export type OverlayLower = {
  readonly lower: string;
  /** Files by digest, to which the lower's redirects lead; not visible itself. */
  readonly data?: string | undefined;
};

export type OverlayUpper = {
  readonly upper: string;
  readonly work: string;
  /** Keeps lower hardlinks together when one of their names is written. */
  readonly index: boolean;
  /** Nothing of it outlives the host's next crash: fsync is a no-op and unmounting syncs nothing. */
  readonly volatile: boolean;
};

/**
 * Mounts an overlay through fsconfig, layer by layer (Linux 6.8 with a data-only lower, else 5.2), or with mount(2) where that is
 * missing. Throws SystemCallError; ESTALE when `index` is on and the lower is not the one that the upper layer was made over.
 */
export function mountOverlay({ target, ...options }: OverlayLower & OverlayUpper & { target: string }): void {
  const opened: number[] = [];
  const safe = (path: string) => plainPath(path, opened);
  try {
    const writable: FilesystemOption[] = [
      ['upperdir', safe(options.upper)],
      ['workdir', safe(options.work)],
      ['metacopy', 'on'],
      ['redirect_dir', 'on'],
      ['index', options.index ? 'on' : 'off'],
      ['nfs_export', 'off'],
    ];
    if (options.volatile) writable.push(['volatile']);
    mountLayers([safe(options.lower)], options.data === undefined ? undefined : safe(options.data), { target, options: writable });
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

/** Mounts a lower alone, read-only. `empty` is an empty directory: overlayfs wants two layers. */
export function mountReadOnly({ target, lower, data, empty }: OverlayLower & { target: string; empty: string }): void {
  const opened: number[] = [];
  const safe = (path: string) => plainPath(path, opened);
  try {
    const lowers = data === undefined ? [safe(lower), safe(empty)] : [safe(lower)];
    const options: FilesystemOption[] = [
      ['metacopy', 'on'],
      ['redirect_dir', 'follow'],
    ];
    mountLayers(lowers, data === undefined ? undefined : safe(data), { target, options, readOnly: true });
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

const MS_RDONLY = 1;

function mountLayers(
  lowers: readonly string[],
  data: string | undefined,
  { target, options, readOnly = false }: { target: string; options: readonly FilesystemOption[]; readOnly?: boolean },
): void {
  try {
    const layers: FilesystemOption[] =
      data === undefined ? [['lowerdir', lowers.join(':')]] : [...lowers.map((lower) => ['lowerdir+', lower] as const), ['datadir+', data]];
    mountFilesystem({ type: 'overlay', source: 'slipway', options: [...layers, ...options], target, readOnly });
  } catch (error) {
    if (!isErrno(error, 'ENOSYS') && !(error instanceof Error && /Unknown parameter '?(lowerdir|datadir)\+/.test(error.message)))
      throw error;
    const lowerdir = `${lowers.join(':')}${data === undefined ? '' : `::${data}`}`;
    const text = [['lowerdir', lowerdir] as const, ...options]
      .map(([key, value]) => (value === undefined ? key : `${key}=${value}`))
      .join();
    mount({ type: 'overlay', source: 'slipway', target, data: text, ...(readOnly ? { flags: MS_RDONLY } : {}) });
  }
}

/** fsconfig takes at most 255 bytes a value, and overlayfs gives `:`, `,` and `\` a meaning: such a path goes through a descriptor. */
function plainPath(path: string, opened: number[]): string {
  if (Buffer.byteLength(path) < 256 && !/[:,\\]/.test(path)) return path;
  const fd = openSync(path, O.PATH | O.DIRECTORY | O.CLOEXEC);
  opened.push(fd);
  return `/proc/self/fd/${fd}`;
}

/** Removes the directory that a mount was on. */
export function removeMountPoint(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    // EBUSY: another name space still has it mounted. ENOTEMPTY: someone wrote to it unmounted. It does no harm, and the next mount hides it.
    if (!isErrno(error, 'ENOENT', 'EBUSY', 'ENOTEMPTY')) throw error;
  }
}
