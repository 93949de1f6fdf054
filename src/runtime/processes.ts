import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { isErrno } from '../base/errors.ts';

/** A process named so that a reused number is not mistaken for it. `start` is in clock ticks since boot (proc(5), stat field 22). */
export type ProcessId = { pid: number; start: string };

/** Undefined when there is none, or only a zombie. */
export function identify(pid: number): ProcessId | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name, in parentheses, may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, start] = [fields[0], fields[19]];
    return state === 'Z' || state === 'X' || start === undefined ? undefined : { pid, start };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

export function isAlive({ pid, start }: ProcessId): boolean {
  return identify(pid)?.start === start;
}

/** Names this boot; a process number from another boot means nothing. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** Monitors and runtimes that work on a bundle, by their `--bundle` argument. */
export async function findByBundle(bundle: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const matches = await Promise.all(
    pids.map(async (pid) => {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      return line.includes(`\0--bundle\0${bundle}\0`);
    }),
  );
  return pids.filter((_, index) => matches[index]).map(Number);
}

/** Paths that the process has open, as /proc shows them (a deleted file with ` (deleted)` behind). Empty when it is gone. */
export async function openPaths(pid: number): Promise<string[]> {
  try {
    const fds = await readdir(`/proc/${pid}/fd`);
    return (await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')))).filter((path) => path !== '');
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return [];
    throw error;
  }
}
