import { type ByteString, fromBuffer } from '../base/bytes.ts';
import { cBytes, check, cString, cStringEnd, declare, errnoNumbers, failure, lastErrno, type PathArgument, pinned } from './libc.ts';

/** A raw extended attribute: full name and value, both bytes. */
export type XattrPair = readonly [name: ByteString, value: ByteString];

type XattrOptions = { follow?: boolean };

const signature = {
  list: '(uintptr_t, uintptr_t, uint64_t)',
  get: '(uintptr_t, uintptr_t, uintptr_t, uint64_t)',
  set: '(uintptr_t, uintptr_t, uintptr_t, uint64_t, int)',
  remove: '(uintptr_t, uintptr_t)',
};
/** The same four calls on a path, on a path without following a last symlink, and on an open file (whose number takes the path's place). */
const calls = (prefix: string) => ({
  list: declare(`int64_t ${prefix}listxattr${signature.list}`.replace('(uintptr_t', prefix === 'f' ? '(int' : '(uintptr_t')),
  get: declare(`int64_t ${prefix}getxattr${signature.get}`.replace('(uintptr_t', prefix === 'f' ? '(int' : '(uintptr_t')),
  set: declare(`int ${prefix}setxattr${signature.set}`.replace('(uintptr_t', prefix === 'f' ? '(int' : '(uintptr_t')),
  remove: declare(`int ${prefix}removexattr${signature.remove}`.replace('(uintptr_t', prefix === 'f' ? '(int' : '(uintptr_t')),
});
type Calls = ReturnType<typeof calls>;
const following = calls('');
const notFollowing = calls('l');
const onDescriptor = calls('f');

/** XATTR_LIST_MAX and XATTR_SIZE_MAX (linux/limits.h): nothing is longer. */
const names = pinned(65_536);
const value = pinned(65_536);

/** Sorted bytewise by name; empty where the file system has none. Throws SystemCallError. */
export function listXattrs(path: PathArgument, options: XattrOptions = {}): XattrPair[] {
  return list(options.follow ? following : notFollowing, () => cString(path), path);
}

export function listXattrsFd(fd: number): XattrPair[] {
  return list(onDescriptor, () => fd, undefined);
}

/**
 * Of `name` in the open directory `dirFd`, a symlink not followed. The caller's path may be longer than PATH_MAX, so it goes through
 * the descriptor.
 */
export function listXattrsAt(dirFd: number, name: ByteString): XattrPair[] {
  const path = `/proc/self/fd/${dirFd}/${name}`;
  return list(notFollowing, () => cBytes(path), path);
}

/** Undefined when the attribute, or support for attributes, is not there. */
export function getXattr(path: PathArgument, name: string, options: XattrOptions = {}): ByteString | undefined {
  return get(options.follow ? following : notFollowing, cString(path), cBytes(name, 1), path);
}

export function setXattr(path: PathArgument, name: string, bytes: ByteString | Buffer, options: XattrOptions = {}): void {
  set(options.follow ? following : notFollowing, cString(path), name, bytes, path);
}

export function setXattrFd(fd: number, name: string, bytes: ByteString | Buffer): void {
  set(onDescriptor, fd, name, bytes, undefined);
}

/** Throws ENODATA when it is not there. */
export function removeXattr(path: PathArgument, name: string, options: XattrOptions = {}): void {
  check((options.follow ? following : notFollowing).remove(cString(path), cBytes(name, 1)), 'removexattr', path);
}

function list(call: Calls, target: () => number, path: PathArgument | undefined): XattrPair[] {
  const length = call.list(target(), names.address, names.buffer.length);
  if (length === 0) return [];
  if (length === -1) {
    if (lastErrno() === errnoNumbers.EOPNOTSUPP) return [];
    throw failure('listxattr', path);
  }
  const found: XattrPair[] = [];
  const subject = target();
  for (let start = 0; start < length; ) {
    const end = cStringEnd(names.buffer, start);
    const bytes = get(call, subject, names.address + start, path);
    // Undefined: removed between the two calls.
    if (bytes !== undefined) found.push([fromBuffer(names.buffer.subarray(start, end)), bytes]);
    start = end + 1;
  }
  return found.sort((a, b) => (a[0] < b[0] ? -1 : 1));
}

function get(call: Calls, target: number, nameAddress: number, path: PathArgument | undefined): ByteString | undefined {
  const length = call.get(target, nameAddress, value.address, value.buffer.length);
  if (length >= 0) return value.buffer.latin1Slice(0, length) as ByteString;
  if (lastErrno() === errnoNumbers.ENODATA || lastErrno() === errnoNumbers.EOPNOTSUPP) return undefined;
  throw failure('getxattr', path);
}

function set(call: Calls, target: number, name: string, bytes: ByteString | Buffer, path: PathArgument | undefined): void {
  const length = typeof bytes === 'string' ? value.buffer.latin1Write(bytes, 0) : bytes.copy(value.buffer);
  if (length < bytes.length) throw Object.assign(new Error(`E2BIG: the value of ${name} has ${bytes.length} bytes`), { code: 'E2BIG' });
  if (call.set(target, cBytes(name, 1), value.address, length, 0) === -1) throw failure(`setxattr ${name}`, path);
}
