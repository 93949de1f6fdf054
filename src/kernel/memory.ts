import { declare } from './libc.ts';

const libcMallopt = declare('int mallopt(int, int)');
const libcMallocTrim = declare('int malloc_trim(uint64_t)');

const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

/**
 * Has malloc share `count` arenas among all threads. Each thread would else get one of its own, of which little comes back when the thread
 * ends. Call before threads are made.
 */
export function limitArenas(count: number): void {
  libcMallopt(M_ARENA_MAX, count);
}

/**
 * Has malloc map each block of `bytes` or more for itself, which goes back to the kernel when it is freed, and give back the end of a heap when so much of it is free. By default both bounds rise
 * with the largest block that was ever freed, up to 32 and 64 MiB: buffers of a transfer then leave holes in the heap that stay.
 */
export function returnLargeBlocks(bytes: number): void {
  libcMallopt(M_MMAP_THRESHOLD, bytes);
  libcMallopt(M_TRIM_THRESHOLD, bytes);
}

/** Gives memory that malloc holds and nobody uses back to the kernel: a few milliseconds, more after much was freed. */
export function returnFreeMemory(): void {
  libcMallocTrim(0);
}
