import { setTimeout as sleep } from 'node:timers/promises';

const longestMs = 60_000;

/** Tries until it does not throw; after a minute with its last error. Costs no time where the condition holds. */
export async function until(assertion: () => Promise<void> | void): Promise<void> {
  const deadline = performance.now() + longestMs;
  for (;;) {
    try {
      await assertion();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(25);
    }
  }
}
