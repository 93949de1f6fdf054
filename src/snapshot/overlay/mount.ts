import { closeSync, openSync, rmdirSync } from 'node:fs';
import { isErrno } from '../../base/errors.ts';
import { O } from '../../kernel/files.ts';
import { type FilesystemOption, mount, mountFilesystem } from '../../kernel/mount.ts';

export type OverlayMount = {
  readonly lower: string;
  /** Files by digest, to which the lower's redirects lead; not visible itself. */
  readonly data?: string | undefined;
  readonly upper: string;
  readonly work: string;
  readonly target: string;
  /** Keeps lower hardlinks together when one of their names is written. */
  readonly index: boolean;
  /** Nothing of it outlives the host's next crash: fsync is a no-op and unmounting syncs nothing. */
  readonly volatile: boolean;
};

/**
 * Mounts an overlay through fsconfig, layer by layer (Linux 6.8 with a data-only lower, else 5.2), or with mount(2) where that is
 * missing. Throws SystemCallError; ESTALE when `index` is on and the lower is not the one that the upper layer was made over.
 */
export function mountOverlay(options: OverlayMount): void {
  const opened: number[] = [];
  const safe = (path: string) => plainPath(path, opened);
  try {
    const layers = { lower: safe(options.lower), data: options.data === undefined ? undefined : safe(options.data) };
    const writable: FilesystemOption[] = [
      ['upperdir', safe(options.upper)],
      ['workdir', safe(options.work)],
      ['metacopy', 'on'],
      ['redirect_dir', 'on'],
      ['index', options.index ? 'on' : 'off'],
      ['nfs_export', 'off'],
    ];
    if (options.volatile) writable.push(['volatile']);
    try {
      const lowers: FilesystemOption[] =
        layers.data === undefined
          ? [['lowerdir', layers.lower]]
          : [
              ['lowerdir+', layers.lower],
              ['datadir+', layers.data],
            ];
      mountFilesystem({ type: 'overlay', source: 'slipway', options: [...lowers, ...writable], target: options.target });
    } catch (error) {
      if (!isErrno(error, 'ENOSYS') && !(error instanceof Error && /Unknown parameter '?(lowerdir|datadir)\+/.test(error.message)))
        throw error;
      const lowerdir = layers.data === undefined ? layers.lower : `${layers.lower}::${layers.data}`;
      const data = [['lowerdir', lowerdir] as const, ...writable]
        .map(([key, value]) => (value === undefined ? key : `${key}=${value}`))
        .join();
      mount({ type: 'overlay', source: 'slipway', target: options.target, data });
    }
  } finally {
    for (const fd of opened) closeSync(fd);
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
