import { limitArenas, mapBlocksFrom, returnFreeMemory } from '../kernel/memory.ts';

const lookEveryMs = 5_000;
/** Processor time, in microseconds, between two looks: what counts as work, and what as rest. */
const workMicros = 200_000;
const restMicros = 25_000;
/** Buffers of files and of networks are of this size and more. */
const mappedBytes = 256 * 1024;

/**
 * Keeps the daemon small: few malloc arenas however many job threads come and go, large buffers given back to the kernel as they are freed, and the
 * rest in the first quiet moment after work. Call before threads are made. Returns how to end it.
 */
export function keepSmall(): () => void {
  limitArenas(2);
  mapBlocksFrom(mappedBytes);
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
