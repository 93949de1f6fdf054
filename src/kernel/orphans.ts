import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { check, declare, errnoNumbers, lastErrno, pinned } from './libc.ts';

const libcPrctl = declare('int prctl(int, uintptr_t, uintptr_t, uintptr_t, uintptr_t)');
const libcWaitpid = declare('int waitpid(int, uintptr_t, int)');
const libcWaitid = declare('int waitid(int, uint, uintptr_t, int)');

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;

/** How often children that nobody asked about are looked for. */
const sweepMs = 10_000;
/** How soon after some child's end those that joined a PID namespace are looked for: by then whoever waits for one has had its turn. */
const joinedSweepMs = 250;

/** How long a process may take to become this one's child once whoever started it has ended. */
const adoptionMs = 2_000;
const lookAgainMs = 5;

type Awaited = { resolve: (exitCode: number | undefined) => void; until: number };
const waiting = new Map<number, Awaited>();
let listening = false;
let joinedSweep: NodeJS.Timeout | undefined;
const status = pinned(8);

/**
 * Makes this process the parent of every process below it whose own parent ends (PR_SET_CHILD_SUBREAPER, prctl(2)): what a runtime leaves behind
 * with `--detach`, and monitors that fork themselves away. Those that `orphanEnded` does not await are reaped within half a minute; within half a second
 * what had joined a container's PID namespace. Once is enough; only on the main thread, where SIGCHLD arrives.
 */
export function adoptOrphans(): void {
  if (listening) return;
  listening = true;
  check(libcPrctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 'prctl PR_SET_CHILD_SUBREAPER');
  process.on('SIGCHLD', () => {
    reapAwaited();
    if (joinedSweep === undefined) joinedSweep = setTimeout(sweepJoined, joinedSweepMs).unref();
  });
  setInterval(sweep, sweepMs).unref();
}

/**
 * Resolves with how an adopted process ended: its exit code, or 128 + the signal. Undefined when it is not this process's child and does not become it
 * within two seconds. Does not keep the event loop going.
 */
export function orphanEnded(pid: number): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  waiting.set(pid, { resolve, until: Date.now() + adoptionMs });
  // It may have ended before anybody asked.
  reap(pid);
  return promise;
}

/** As `orphanEnded`, now: undefined too while it runs. */
export function reapOrphan(pid: number): number | undefined {
  const result = libcWaitpid(pid, status.address, WNOHANG);
  return result === pid ? decode(status.view.getInt32(0, true)) : undefined;
}

function reapAwaited(): void {
  for (const pid of [...waiting.keys()]) reap(pid);
}

function reap(pid: number): void {
  const awaited = waiting.get(pid);
  if (awaited === undefined) return;
  const result = libcWaitpid(pid, status.address, WNOHANG);
  if (result === 0 || (result === -1 && lastErrno() === errnoNumbers.EINTR)) return;
  if (result === -1 && Date.now() < awaited.until && existsSync(`/proc/${pid}`)) {
    // A process between it and this one has not ended yet.
    setTimeout(() => reap(pid), lookAgainMs).unref();
    return;
  }
  waiting.delete(pid);
  awaited.resolve(result === -1 ? unasked.get(pid)?.exitCode : decode(status.view.getInt32(0, true)));
}

function decode(wait: number): number {
  const signal = wait & 0x7f;
  return signal === 0 ? (wait >> 8) & 0xff : 128 + signal;
}

/** How those ended that were reaped before anybody asked: whoever started one may be about to, and is told then. */
const unasked = new Map<number, { exitCode: number; atMs: number }>();
const unaskedMs = 30_000;

function reapUnasked(pid: number): void {
  const atMs = Date.now();
  for (const [old, { atMs: then }] of unasked) if (atMs - then > unaskedMs) unasked.delete(old);
  if (libcWaitpid(pid, status.address, WNOHANG) === pid) unasked.set(pid, { exitCode: decode(status.view.getInt32(0, true)), atMs });
}

/** Zombies at the last sweep. */
let seen = new Set<number>();

/**
 * Children that Node started are reaped by Node at once, and by nobody else, else it would never tell of their end. So only what has been a zombie for
 * a whole turn is nobody's.
 */
function sweep(): void {
  if (!someChildEnded()) {
    seen.clear();
    return;
  }
  const zombies = children().filter((pid) => !waiting.has(pid) && isZombie(pid));
  for (const pid of zombies) if (seen.has(pid)) reapUnasked(pid);
  seen = new Set(zombies);
}

/**
 * What a runtime was adding to a container when the container ended is left to us, and a PID namespace does not end before all in it are reaped: its
 * first process hangs in exit(2). Node starts nothing in a namespace, so such a zombie is nobody's; a first process itself is asked about later.
 */
function sweepJoined(): void {
  joinedSweep = undefined;
  if (!someChildEnded()) return;
  for (const pid of children()) if (!waiting.has(pid) && isZombie(pid) && joinedNamespace(pid)) reapUnasked(pid);
}

/** Whether it is in a PID namespace below ours, and not the first there (proc_pid_status(5), NSpid). */
function joinedNamespace(pid: number): boolean {
  const [, inner] = /^NSpid:\t\d+(?:\t\d+)*\t(\d+)$/m.exec(readQuietly(`/proc/${pid}/status`)) ?? [];
  return inner !== undefined && inner !== '1';
}

const information = pinned(128);

/** Looks without reaping: one system call, whatever the number of children. */
function someChildEnded(): boolean {
  const [P_ALL, WEXITED, WNOWAIT, pidOffset] = [0, 4, 0x0100_0000, 16];
  information.buffer.fill(0);
  if (libcWaitid(P_ALL, 0, information.address, WEXITED | WNOHANG | WNOWAIT) === -1) return false;
  return information.view.getInt32(pidOffset, true) !== 0;
}

function children(): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) => {
    const text = readQuietly(`/proc/self/task/${thread}/children`);
    return text
      .split(' ')
      .filter((pid) => pid !== '')
      .map(Number);
  });
}

function isZombie(pid: number): boolean {
  const text = readQuietly(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(')') + 2).startsWith('Z');
}

/** A thread or process that has gone meanwhile reads as nothing. */
function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}
