import { declare } from './libc.ts';

const libcMallopt = declare('int mallopt(int, int)');
const libcMallocTrim = declare('int malloc_trim(uint64_t)');

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
 * Has malloc map blocks of that size and more one by one, so that each goes back to the kernel when it is freed. By itself it raises the bound to the largest block that was ever freed, and what is
 * smaller then leaves holes in its arenas.
 */
export function mapBlocksFrom(bytes: number): void {
  libcMallopt(M_MMAP_THRESHOLD, bytes);
}

/** Gives memory that malloc holds and nobody uses back to the kernel: a few milliseconds, more after much was freed. */
export function returnFreeMemory(): void {
  libcMallocTrim(0);
}
