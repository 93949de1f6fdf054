import { check, declare, syscall } from './libc.ts';

const libcFcntl = declare('int fcntl(int, int, int)');
const F_DUPFD_CLOEXEC = 1030;
const SYS_PIDFD_GETFD = 438;

/** A second descriptor for what `fd` is open on; close-on-exec. The caller closes it. */
export function duplicate(fd: number): number {
  return check(libcFcntl(fd, F_DUPFD_CLOEXEC, 3), 'fcntl F_DUPFD_CLOEXEC');
}

/**
 * A descriptor of this process for what is open as `fd` in another one (pidfd_getfd(2), Linux 5.6); close-on-exec. ESRCH when that process has
 * ended, EBADF when it has no such descriptor.
 */
export function descriptorOf(pidfd: number, fd: number): number {
  return check(syscall(SYS_PIDFD_GETFD, pidfd, fd, 0, 0, 0, 0), 'pidfd_getfd');
}
