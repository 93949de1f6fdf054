import { EngineError } from '../../base/errors.ts';
import type { Vertex } from '../graph/vertex.ts';
import { isCancelled } from './limits.ts';

/** `stopClock`: what the attempt does from then on takes none of the vertex's time. */
export type Turn = { readonly isLast: boolean; readonly stopClock: () => void };

/**
 * Runs a step within the vertex's time, and again as often as it may fail. Each attempt begins from the step's inputs; what is told of a failed one goes to `onOutput`. InvalidArgument
 * `BUILD_STEP_TIMEOUT`; the last attempt's error.
 */
export async function withinLimits<T>(
  { timeoutMs, retries = 0 }: Pick<Vertex, 'timeoutMs' | 'retries'>,
  signal: AbortSignal,
  onOutput: (stream: 'stderr', data: Buffer) => void,
  attempt: (signal: AbortSignal, turn: Turn) => Promise<T>,
): Promise<T> {
  for (let left = retries; ; left--) {
    try {
      return await withinTime(timeoutMs, signal, (stop, stopClock) => attempt(stop, { isLast: left === 0, stopClock }));
    } catch (error) {
      if (left === 0 || signal.aborted || isCancelled(error)) throw error;
      const message = error instanceof Error ? error.message : String(error);
      onOutput('stderr', Buffer.from(`attempt ${retries - left + 1} of ${retries + 1} failed: ${message}\n`));
    }
  }
}

async function withinTime<T>(
  timeoutMs: number | undefined,
  signal: AbortSignal,
  attempt: (signal: AbortSignal, stopClock: () => void) => Promise<T>,
): Promise<T> {
  if (timeoutMs === undefined) return attempt(signal, () => undefined);
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), timeoutMs);
  try {
    return await attempt(AbortSignal.any([signal, deadline.signal]), () => clearTimeout(timer));
  } catch (error) {
    if (signal.aborted || !deadline.signal.aborted) throw error;
    throw new EngineError('InvalidArgument', 'BUILD_STEP_TIMEOUT', `the step did not end within ${timeoutMs / 1000} s`, {
      hint: 'Give it more time, or look at what it waits for in its output.',
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}
