import { check, declare, errnoNumbers, failure, lastErrno, pinned, syscall } from './libc.ts';

const libcIoctl = declare('int ioctl(int, uint64_t, uintptr_t)');
const libcPoll = declare('int poll(uintptr_t, uint64_t, int)');
const libcKill = declare('int kill(int, int)');

const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;

/** A descriptor for exactly this process, whatever becomes of its number (pidfd_open(2), Linux 5.3). ESRCH when there is none. */
export function pidfdOpen(pid: number): number {
  return check(syscall(SYS_PIDFD_OPEN, pid, 0, 0, 0, 0, 0), `pidfd_open ${pid}`);
}

/** ESRCH when the process has ended. */
export function pidfdSendSignal(fd: number, signal: number): void {
  check(syscall(SYS_PIDFD_SEND_SIGNAL, fd, signal, 0, 0, 0, 0), 'pidfd_send_signal');
}

const pollRecord = pinned(8);

/** Whether the process has ended, waiting up to `timeoutMs` (blocking this thread; 0 only looks). */
export function pidfdHasEnded(fd: number, timeoutMs = 0): boolean {
  const POLLIN = 1;
  pollRecord.view.setInt32(0, fd, true);
  pollRecord.view.setInt32(4, POLLIN, true);
  return check(libcPoll(pollRecord.address, 1, timeoutMs), 'poll') === 1;
}

const pidfdInfo = pinned(64);
const PIDFD_GET_INFO = 0xc040ff0b;
const PIDFD_INFO_EXIT = 1 << 3;

/**
 * How a process that is not our child ended: its wait status (`status >> 8` the exit code, `status & 127` the signal). Undefined while it
 * lives, before its parent has reaped it, and on kernels before 6.15.
 */
function pidfdExitStatus(fd: number): number | undefined {
  pidfdInfo.buffer.fill(0);
  pidfdInfo.view.setUint32(0, PIDFD_INFO_EXIT, true);
  if (libcIoctl(fd, PIDFD_GET_INFO, pidfdInfo.address) === -1) {
    const { ENOTTY, EINVAL, ESRCH, EREMOTE } = errnoNumbers;
    if ([ENOTTY, EINVAL, ESRCH, EREMOTE].includes(lastErrno())) return undefined;
    throw failure('ioctl PIDFD_GET_INFO');
  }
  return pidfdInfo.view.getUint32(0, true) & PIDFD_INFO_EXIT ? pidfdInfo.view.getInt32(60, true) : undefined;
}

/** As `pidfdExitStatus`, in a shell's numbers: the exit code, or 128 + the signal. */
export function pidfdExitCode(fd: number): number | undefined {
  const status = pidfdExitStatus(fd);
  if (status === undefined) return undefined;
  return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
}

/** False when there is no such process. A negative `pid` is a process group. */
export function killProcess(pid: number, signal: number): boolean {
  if (libcKill(pid, signal) === 0) return true;
  if (lastErrno() === errnoNumbers.ESRCH) return false;
  throw failure(`kill ${pid}`);
}
