import { closeSync, readFileSync, writeSync } from 'node:fs';
import { check, cString, declare, errnoNumbers, failure, lastErrno } from './libc.ts';

const libcMemfdCreate = declare('int memfd_create(uintptr_t, uint)');
const libcFcntl = declare('int fcntl(int, int, int)');

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Linux 6.3; before it, what is in memory may always be run. */
const MFD_EXEC = 0x10;
const F_ADD_SEALS = 1033;
const seals = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8 };

/**
 * A copy of a program in memory that nobody can change any more (memfd_create(2), all seals). The descriptor is close-on-exec and the caller's to close;
 * `/proc/<pid>/fd/<fd>` runs it, for as long as it is open. EACCES where the host lets nothing run from memory (vm.memfd_noexec).
 */
export function sealedCopy(path: string): number {
  const content = readFileSync(path);
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  let fd = libcMemfdCreate(cString('program'), flags | MFD_EXEC);
  if (fd === -1 && lastErrno() === errnoNumbers.EINVAL) fd = libcMemfdCreate(cString('program'), flags);
  if (fd === -1) throw failure('memfd_create', path);
  try {
    for (let at = 0; at < content.length; ) at += writeSync(fd, content, at);
    check(libcFcntl(fd, F_ADD_SEALS, seals.SEAL | seals.SHRINK | seals.GROW | seals.WRITE), 'fcntl F_ADD_SEALS', path);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
