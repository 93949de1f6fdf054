import { declare } from './libc.ts';

const libcMallopt = declare('int mallopt(int, int)');
const libcMallocTrim = declare('int malloc_trim(uint64_t)');

const M_ARENA_MAX = -8;

/**
 * Has malloc share `count` arenas among all threads. Each thread would else get one of its own, of which little comes back when the thread
 * ends. Call before threads are made.
 */
export function limitArenas(count: number): void {
  libcMallopt(M_ARENA_MAX, count);
}

/** Gives memory that malloc holds and nobody uses back to the kernel: a few milliseconds, more after much was freed. */
export function returnFreeMemory(): void {
  libcMallocTrim(0);
}
