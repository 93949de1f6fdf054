import { readFileSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { isErrno } from '../base/errors.ts';
import { reapOrphan } from '../kernel/orphans.ts';
import { killProcess } from '../kernel/process.ts';
import { readMemoryFile } from './cgroups.ts';
import { SIGKILL } from './signals.ts';

/** A process named so that a reused number is not mistaken for it. `start` is in clock ticks since boot (proc(5), stat field 22). */
export type ProcessId = { pid: number; start: string };

type Seen = ProcessId & { ended: boolean };

function look(pid: number): Seen | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name, in parentheses, may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, start] = [fields[0], fields[19]];
    return start === undefined ? undefined : { pid, start, ended: state === 'Z' || state === 'X' };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

/** Undefined when there is none, or only a zombie. */
export function identify(pid: number): ProcessId | undefined {
  const seen = look(pid);
  return seen === undefined || seen.ended ? undefined : { pid, start: seen.start };
}

/** The exit code of one that has ended, if the engine is its parent and nobody asked before: 128 + its signal when one ended it. */
export function exitCodeOf({ pid, start }: ProcessId): number | undefined {
  const seen = look(pid);
  return seen?.ended && seen.start === start ? reapOrphan(pid) : undefined;
}

type Kin = { pid: number; parent: number; session: number; ended: boolean };

async function kin(pid: number): Promise<Kin | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  const [state, parent, , session] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return session === undefined
    ? undefined
    : { pid, parent: Number(parent), session: Number(session), ended: state === 'Z' || state === 'X' };
}

/**
 * Kills a session's leader with everything in its session and everything that descends from those, as long as `candidates` (asked anew each time)
 * holds such: a process that starts others faster than they are found gets a bounded number of rounds.
 */
export async function killSession(leader: number, candidates: () => Promise<readonly number[]>): Promise<void> {
  const known = new Set([leader]);
  for (let round = 0; round < 20; round++) {
    const others = (await Promise.all((await candidates()).map(kin))).filter((other) => other !== undefined);
    for (let grown = true; grown; ) {
      const size = known.size;
      for (const { pid, parent, session } of others) if (known.has(parent) || session === leader) known.add(pid);
      grown = known.size > size;
    }
    const alive = others.filter(({ pid, ended }) => known.has(pid) && !ended);
    if (alive.length === 0) return;
    for (const { pid } of alive) killProcess(pid, SIGKILL);
    await new Promise((resolve) => setTimeout(resolve, 5 * round));
  }
}

export function isAlive({ pid, start }: ProcessId): boolean {
  return identify(pid)?.start === start;
}

/** Names this boot; a process number from another boot means nothing. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** Kills monitors and runtimes that work on a bundle, however often they fork on, with what they have started beside them. */
export async function endBundle(bundle: string): Promise<void> {
  const own = groupOf('self');
  for (let round = 0; round < 20; round++) {
    const pids = await findByBundle(bundle);
    if (pids.length === 0) return;
    for (const pid of pids) {
      // What a runtime has started does not have the bundle in its arguments, but stays in its process group.
      const group = groupOf(pid);
      if (group !== undefined && group !== own) killProcess(-group, SIGKILL);
      killProcess(pid, SIGKILL);
    }
    await new Promise((resolve) => setTimeout(resolve, 5 * (round + 1)));
  }
}

function groupOf(pid: number | 'self'): number | undefined {
  const text = readMemoryFile(`/proc/${pid}/stat`) ?? '';
  const group = Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[2]);
  return group > 1 ? group : undefined;
}

async function findByBundle(bundle: string): Promise<number[]> {
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
