import type { RestartPolicy } from '../api-types/container.ts';

const firstDelayMs = 100;
const longestDelayMs = 60_000;
/** A container that ran this long has started well: its delay begins anew. */
const settledMs = 10_000;

export type Ended = {
  exitCode: number;
  ranMs: number;
  restartCount: number;
  stoppedByUser: boolean;
  /** The delay before the last restart; 0 for none. */
  lastDelayMs: number;
};

/** Undefined: stays ended. Else how long to wait before it is started again, in ms. */
export function restartDelay(policy: RestartPolicy | undefined, ended: Ended): number | undefined {
  if (ended.stoppedByUser || !wantsRestart(policy, ended)) return undefined;
  if (ended.lastDelayMs === 0 || ended.ranMs >= settledMs) return firstDelayMs;
  return Math.min(ended.lastDelayMs * 2, longestDelayMs);
}

function wantsRestart(policy: RestartPolicy | undefined, { exitCode, restartCount }: Ended): boolean {
  switch (policy?.Name ?? '') {
    case 'always':
    case 'unless-stopped':
      return true;
    case 'on-failure':
      return exitCode !== 0 && (!policy?.MaximumRetryCount || restartCount < policy.MaximumRetryCount);
    default:
      return false;
  }
}

/** Whether an ended container starts with the engine. `always` does even when someone stopped it, as in Docker. */
export function startsWithEngine(
  policy: RestartPolicy | undefined,
  ended: Pick<Ended, 'exitCode' | 'restartCount' | 'stoppedByUser'>,
): boolean {
  if (policy?.Name === 'always') return true;
  return restartDelay(policy, { ...ended, ranMs: 0, lastDelayMs: 0 }) !== undefined;
}
