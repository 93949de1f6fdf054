import type { Progress } from './progress.ts';

/** Runs what sends a folder, and shows it as a step of the build. */
export type SendingTold = <T extends { files: number; sentBytes: number }>(send: () => Promise<T>) => Promise<T>;

export function toldSending(progress: Pick<Progress, 'line'>): SendingTold {
  return async (send) => {
    const startedAt = performance.now();
    const tell = (state: 'running' | 'done' | 'error' | 'cancelled', more: { error?: string; detail?: Record<string, number> } = {}) => {
      const durationMs = performance.now() - startedAt;
      progress.line({ kind: 'vertex', vertex: 'send the build context', name: 'send the build context', state, durationMs, ...more });
    };
    tell('running');
    try {
      const sent = await send();
      tell('done', { detail: { files: sent.files, bytes: sent.sentBytes } });
      return sent;
    } catch (error) {
      tell('error', { error: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  };
}
