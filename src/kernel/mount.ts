import { closeSync, readFileSync, readSync } from 'node:fs';
import { isErrno } from '../base/errors.ts';
import {
  AT_FDCWD,
  AT_RECURSIVE,
  AT_SYMLINK_NOFOLLOW,
  check,
  cString,
  declare,
  errnoNumbers,
  failure,
  lastErrno,
  type PathArgument,
  pinned,
  SystemCallError,
  syscall,
} from './libc.ts';
import { statxAttrMountRoot, statxBytes, statxMask } from './stat.ts';

const libcMount = declare('int mount(uintptr_t, uintptr_t, uintptr_t, uint64_t, uintptr_t)');
const libcUmount2 = declare('int umount2(uintptr_t, int)');
const libcStatx = declare('int statx(int, uintptr_t, int, uint, uintptr_t)');

/** mount(2) flags. */
const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  NOATIME: 1024,
  BIND: 4096,
  MOVE: 8192,
  REC: 16_384,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
} as const;

/** Mount attributes of fsmount(2) and mount_setattr(2). */
const MountAttribute = { RDONLY: 1, NOSUID: 2, NODEV: 4, NOEXEC: 8, NOATIME: 0x10 } as const;

const SYS_MOVE_MOUNT = 429;
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const SYS_MOUNT_SETATTR = 442;

/** `data` (the options) is at most one page long, 4,095 bytes; beyond that use `mountFilesystem`. */
export function mount(options: { source: string; target: string; type: string; flags?: number; data?: string }): void {
  const { source, target, type, flags = 0, data } = options;
  if (data !== undefined && Buffer.byteLength(data) > 4095) {
    throw new SystemCallError('mount', errnoNumbers.EINVAL ?? 22, target, 'the options are longer than a page');
  }
  dataBytes.buffer.fill(0);
  if (data !== undefined) dataBytes.buffer.write(data);
  dataBytes.buffer.write(`${type}\0`, typeOffset);
  const address = data === undefined ? 0 : dataBytes.address;
  const result = libcMount(cString(source, 0), cString(target, 1), dataBytes.address + typeOffset, flags, address);
  if (result === -1) throw failure(`mount ${type}`, target, data);
}
const typeOffset = 4096;
const dataBytes = pinned(typeOffset + 256);

/** `detach`: leaves the name space now, goes away when its last user does (MNT_DETACH). Never follows a symlink. EINVAL when not mounted. */
export function unmount(target: PathArgument, options: { detach?: boolean } = {}): void {
  const MNT_DETACH = 2;
  const UMOUNT_NOFOLLOW = 8;
  check(libcUmount2(cString(target), UMOUNT_NOFOLLOW | (options.detach ? MNT_DETACH : 0)), 'umount2', target);
}

/** As `unmount` with `detach`, but true or false for "was mounted". Takes stacked mounts away too. */
export function unmountIfMounted(target: PathArgument): boolean {
  let any = false;
  for (;;) {
    try {
      unmount(target, { detach: true });
      any = true;
    } catch (error) {
      if (isErrno(error, 'EINVAL', 'ENOENT')) return any;
      throw error;
    }
  }
}

export type FilesystemOption = readonly [key: string, value?: string | undefined];

/**
 * Mounts through fsopen, fsconfig, fsmount and move_mount (Linux 5.2): options may repeat and their sum may be long, each value at most
 * 255 bytes. Throws SystemCallError with what the kernel said in words; ENOSYS on an older kernel. Leaves nothing when it fails.
 */
export function mountFilesystem(options: {
  type: string;
  source?: string;
  options: readonly FilesystemOption[];
  target: string;
  readOnly?: boolean;
  /** MountAttribute bits. */
  attributes?: number;
}): void {
  const FSOPEN_CLOEXEC = 1;
  const FSMOUNT_CLOEXEC = 1;
  const MOVE_MOUNT_F_EMPTY_PATH = 4;
  const { type, source, target, readOnly = false } = options;
  const context = check(syscall(SYS_FSOPEN, cString(type), FSOPEN_CLOEXEC, 0, 0, 0, 0), `fsopen ${type}`, target);
  let mountFd = -1;
  try {
    if (source !== undefined) configure(context, FSCONFIG.string, target, 'source', source);
    if (readOnly) configure(context, FSCONFIG.flag, target, 'ro');
    for (const [key, value] of options.options)
      configure(context, value === undefined ? FSCONFIG.flag : FSCONFIG.string, target, key, value);
    configure(context, FSCONFIG.create, target);
    const attributes = (options.attributes ?? 0) | (readOnly ? MountAttribute.RDONLY : 0);
    mountFd = syscall(SYS_FSMOUNT, context, FSMOUNT_CLOEXEC, attributes, 0, 0, 0);
    if (mountFd === -1) throw failure('fsmount', target, contextLog(context));
    const moved = syscall(SYS_MOVE_MOUNT, mountFd, cString('', 0), AT_FDCWD, cString(target, 1), MOVE_MOUNT_F_EMPTY_PATH, 0);
    check(moved, 'move_mount', target);
  } finally {
    closeSync(context);
    if (mountFd !== -1) closeSync(mountFd);
  }
}

const FSCONFIG = { flag: 0, string: 1, create: 6 } as const;

function configure(context: number, command: number, target: string, key?: string, value?: string): void {
  const keyAddress = key === undefined ? 0 : cString(key, 0);
  const valueAddress = value === undefined ? 0 : cString(value, 1);
  if (syscall(SYS_FSCONFIG, context, command, keyAddress, valueAddress, 0, 0) !== -1) return;
  const errno = lastErrno();
  const option = key === undefined ? '' : ` (option ${key}${value === undefined ? '' : `=${value}`})`;
  const said = contextLog(context);
  throw new SystemCallError('fsconfig', errno, target, `${said ?? 'refused'}${option}`);
}

/** The messages that the kernel left in a file system context, one a read. */
function contextLog(context: number): string | undefined {
  const lines: string[] = [];
  const buffer = Buffer.alloc(1024);
  try {
    for (;;) lines.push(buffer.toString('utf8', 0, readSync(context, buffer)).trim().slice(2));
  } catch {
    // ENODATA: no more messages.
  }
  return lines.length === 0 ? undefined : lines.join('; ');
}

/** Makes `source` visible at `target`. `recursive` takes the mounts below along; `readOnly` then holds for all of them. */
export function bindMount(source: string, target: string, options: { recursive?: boolean; readOnly?: boolean } = {}): void {
  const { recursive = false, readOnly = false } = options;
  mount({ source, target, type: 'none', flags: MS.BIND | (recursive ? MS.REC : 0) });
  if (!readOnly) return;
  try {
    setMountReadOnly(target, recursive);
  } catch (error) {
    unmount(target, { detach: true });
    throw error;
  }
}

const mountAttributes = pinned(32);

/** mount_setattr(2) (Linux 5.12) leaves the other flags alone, which a remount would drop. */
function setMountReadOnly(target: string, recursive: boolean): void {
  mountAttributes.buffer.fill(0);
  mountAttributes.view.setUint32(0, MountAttribute.RDONLY, true);
  const flags = recursive ? AT_RECURSIVE : 0;
  const result = syscall(SYS_MOUNT_SETATTR, AT_FDCWD, cString(target), flags, mountAttributes.address, 32, 0);
  if (result !== -1) return;
  if (lastErrno() !== errnoNumbers.ENOSYS) throw failure('mount_setattr', target);
  mount({ source: 'none', target, type: 'none', flags: MS.REMOUNT | MS.BIND | MS.RDONLY });
}

/** One line of /proc/self/mountinfo (proc(5)). Paths as text. */
export type MountInfo = {
  id: number;
  parentId: number;
  major: number;
  minor: number;
  /** The part of the file system that is shown. */
  root: string;
  mountPoint: string;
  options: string[];
  /** `shared:N`, `master:N`, ... */
  propagation: string[];
  type: string;
  source: string;
  superOptions: string;
};

export function listMounts(): MountInfo[] {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'latin1'));
}

export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseMountLine);
}

function parseMountLine(line: string): MountInfo {
  const separator = line.indexOf(' - ');
  const [id = '', parent = '', device = '', root = '', mountPoint = '', options = '', ...propagation] = line.slice(0, separator).split(' ');
  const [type = '', source = '', superOptions = ''] = line.slice(separator + 3).split(' ');
  const [major = '', minor = ''] = device.split(':');
  return {
    id: Number(id),
    parentId: Number(parent),
    major: Number(major),
    minor: Number(minor),
    root: unescapeField(root),
    mountPoint: unescapeField(mountPoint),
    options: options.split(','),
    propagation,
    type,
    source: unescapeField(source),
    superOptions: unescapeField(superOptions),
  };
}

/** The kernel writes space, tab, newline and backslash as \040 and so on; the rest are raw bytes. */
function unescapeField(field: string): string {
  const raw = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return Buffer.from(raw, 'latin1').toString('utf8');
}

const statx = pinned(statxBytes);

/** Whether something is mounted exactly at `path` (a last symlink is not followed). False when nothing is there. One system call. */
export function isMountPoint(path: PathArgument): boolean {
  if (libcStatx(AT_FDCWD, cString(path), AT_SYMLINK_NOFOLLOW, statxMask, statx.address) === -1) {
    // A mount whose server or device is gone answers with an error of its own, and is still a mount.
    if ([errnoNumbers.ENOENT, errnoNumbers.ENOTDIR].includes(lastErrno())) return false;
    return listMounts().some((entry) => entry.mountPoint === String(path));
  }
  const attributesMask = statx.view.getUint32(56, true);
  if (attributesMask & statxAttrMountRoot) return (statx.view.getUint32(8, true) & statxAttrMountRoot) !== 0;
  return listMounts().some((entry) => entry.mountPoint === String(path));
}
