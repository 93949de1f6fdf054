import { limitArenas, returnFreeMemory, returnLargeBlocks } from '../kernel/memory.ts';

const lookEveryMs = 5_000;
/** Processor time, in microseconds, between two looks: what counts as work, and what as rest. */
const workMicros = 200_000;
const restMicros = 25_000;

/**
 * Keeps the daemon small: few malloc arenas however many job threads come and go, large buffers given back at once, and the rest of what was freed given back to the
 * kernel in the first quiet moment after work. Call before threads are made. Returns how to end it.
 */
export function keepSmall(): () => void {
  limitArenas(2);
  returnLargeBlocks(128 * 1024);
  let last = process.cpuUsage();
  let worked = true;
  const timer = setInterval(() => {
    const { user, system } = process.cpuUsage(last);
    last = process.cpuUsage();
    if (user + system > workMicros) worked = true;
    if (!worked || user + system > restMicros) return;
    worked = false;
    returnFreeMemory();
  }, lookEveryMs);
  timer.unref();
  return () => clearInterval(timer);
}
