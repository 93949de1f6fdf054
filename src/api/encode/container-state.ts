import type { ContainerInspectState, ContainerStatus, Health } from '../../api-types/container-inspect.ts';
import { humanDuration } from '../../base/human-duration.ts';
import type { ContainerRecord, ContainerState, HealthState } from '../../runtime/port.ts';
import { isoTime, zeroTime } from './time.ts';

export function statusOf(state: ContainerState): ContainerStatus {
  return state.status === 'running' && state.paused ? 'paused' : state.status;
}

export function isRunning(state: ContainerState): boolean {
  return state.status === 'running' || state.status === 'restarting';
}

/** `Up 3 minutes (healthy)`, `Exited (1) 2 hours ago`: what `docker ps` prints as it is. */
export function statusText({ state, health }: Pick<ContainerRecord, 'state' | 'health'>, nowMs: number): string {
  const ago = (ms: number) => `${humanDuration(Math.max(0, nowMs - ms))} ago`;
  switch (state.status) {
    case 'created':
      return 'Created';
    case 'running': {
      const up = `Up ${humanDuration(Math.max(0, nowMs - state.startedAtMs))}`;
      if (state.paused) return `${up} (Paused)`;
      return health === undefined ? up : `${up} (${health.status === 'starting' ? 'health: starting' : health.status})`;
    }
    case 'restarting':
      return `Restarting (${state.exitCode}) ${ago(state.finishedAtMs)}`;
    case 'exited':
      return `Exited (${state.exitCode}) ${ago(state.finishedAtMs)}`;
    case 'removing':
      return 'Removal In Progress';
    case 'dead':
      return 'Dead';
  }
}

export function inspectState({ state, health }: Pick<ContainerRecord, 'state' | 'health'>): ContainerInspectState {
  const finished = state.status === 'exited' || state.status === 'restarting';
  const started = finished || state.status === 'running';
  return {
    Status: statusOf(state),
    // Docker: a container between two runs of its restart policy counts as running.
    Running: isRunning(state),
    Paused: state.status === 'running' && state.paused,
    Restarting: state.status === 'restarting',
    OOMKilled: state.status === 'exited' && state.oomKilled,
    Dead: state.status === 'dead',
    Pid: state.status === 'running' ? state.pid : 0,
    ExitCode: (finished || state.status === 'created' ? state.exitCode : undefined) ?? 0,
    Error: ('error' in state ? state.error : undefined) ?? '',
    StartedAt: started ? timeOrZero(state.startedAtMs) : zeroTime,
    FinishedAt: finished ? timeOrZero(state.finishedAtMs) : zeroTime,
    ...(health === undefined ? {} : { Health: inspectHealth(health) }),
  };
}

function inspectHealth({ status, failingStreak, log }: HealthState): Health {
  return {
    Status: status,
    FailingStreak: failingStreak,
    Log: log.map(({ startedAtMs, endedAtMs, exitCode, output }) => ({
      Start: isoTime(startedAtMs),
      End: isoTime(endedAtMs),
      ExitCode: exitCode,
      Output: output,
    })),
  };
}

function timeOrZero(ms: number): string {
  return ms > 0 ? isoTime(ms) : zeroTime;
}
