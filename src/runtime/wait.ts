import type { Container } from './container.ts';
import type { ContainerRecord, WaitCondition } from './port.ts';

type Answer = { exitCode: number; error?: string };

/** `docker wait`. As in Docker, an end that a restart follows is one too, and whoever waits for a removal is answered with the last end before it. */
export function awaitExit(container: Container, condition: WaitCondition, signal: AbortSignal | undefined): Promise<Answer> {
  const before = container.exits;
  const answer = (): Answer => {
    const { exitCode, error } = container.lastExit ?? savedExit(container.record);
    return { exitCode, ...(error ? { error } : {}) };
  };
  return container.waitFor(() => {
    if (container.removed) return answer();
    if (condition === 'removed') return undefined;
    const { status } = container.record.state;
    const isEnded = condition === 'not-running' && status !== 'running' && status !== 'restarting';
    return isEnded || container.exits > before ? answer() : undefined;
  }, signal);
}

function savedExit({ state }: ContainerRecord): { exitCode: number; error?: string | undefined } {
  if (state.status === 'exited') return { exitCode: state.exitCode, error: state.error };
  if (state.status === 'created') return { exitCode: state.exitCode ?? 0, error: state.error };
  return { exitCode: 0 };
}
