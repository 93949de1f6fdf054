import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { O } from './files.ts';
import { check, declare } from './libc.ts';
import { bindMount } from './mount.ts';

const libcUnshare = declare('int unshare(int)');
const libcSetns = declare('int setns(int, int)');
const CLONE_NEWNET = 0x4000_0000;

/**
 * Makes a network namespace that lives as a file at `path` (bound there, without a process; its loopback is down). The calling thread is
 * back in its own namespace when this returns or throws. EEXIST when the file exists; nothing stays when it fails.
 */
export function createNetns(path: string): void {
  closeSync(openSync(path, 'wx', 0o444));
  try {
    inOwnNetwork(
      () => check(libcUnshare(CLONE_NEWNET), 'unshare', path),
      () => bindMount('/proc/thread-self/ns/net', path),
    );
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

/**
 * Runs `use` with the calling thread in the network namespace at `path`. `use` is synchronous: sockets that it makes and processes that it
 * spawns belong to that namespace; anything asynchronous would run after the thread is back.
 */
export function inNetns<T>(path: string, use: () => T extends PromiseLike<unknown> ? never : T): T {
  const target = openSync(path, O.RDONLY | O.CLOEXEC);
  try {
    return inOwnNetwork(() => check(libcSetns(target, CLONE_NEWNET), 'setns', path), use);
  } finally {
    closeSync(target);
  }
}

function inOwnNetwork<T>(enter: () => void, use: () => T): T {
  const own = openSync('/proc/thread-self/ns/net', O.RDONLY | O.CLOEXEC);
  try {
    enter();
    try {
      return use();
    } finally {
      returnTo(own);
    }
  } finally {
    closeSync(own);
  }
}

function returnTo(own: number): void {
  if (libcSetns(own, CLONE_NEWNET) === 0) return;
  // A daemon that went on in a container's network would bind and dial there: better none than that.
  writeSync(2, 'slipway: cannot return to the own network namespace\n');
  process.abort();
}
