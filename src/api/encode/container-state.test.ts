import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerState, HealthState } from '../../runtime/port.ts';
import { inspectState, statusText } from './container-state.ts';

const running: ContainerState = { status: 'running', pid: 5, startedAtMs: 0, paused: false };
const health = (status: HealthState['status']): HealthState => ({ status, failingStreak: 0, log: [] });

test('a listing tells the state in the words of docker ps', () => {
  const cases: [ContainerState, HealthState | undefined, string][] = [
    [running, undefined, 'Up 3 minutes'],
    [running, health('healthy'), 'Up 3 minutes (healthy)'],
    [running, health('starting'), 'Up 3 minutes (health: starting)'],
    [{ ...running, paused: true }, health('unhealthy'), 'Up 3 minutes (Paused)'],
    [{ status: 'restarting', exitCode: 1, startedAtMs: 0, finishedAtMs: 179_000 }, undefined, 'Restarting (1) 1 second ago'],
    [{ status: 'exited', exitCode: 137, startedAtMs: 0, finishedAtMs: 0, oomKilled: true }, undefined, 'Exited (137) 3 minutes ago'],
    [{ status: 'created' }, undefined, 'Created'],
    [{ status: 'removing' }, undefined, 'Removal In Progress'],
    [{ status: 'dead', error: 'x' }, undefined, 'Dead'],
  ];
  for (const [state, found, text] of cases) assert.equal(statusText({ state, ...(found && { health: found }) }, 180_000), text);
});

test('an inspection has the health checks that were made, and none where there are none', () => {
  assert.equal(inspectState({ state: running }).Health, undefined);
  const log = [{ startedAtMs: 1000, endedAtMs: 2000, exitCode: 1, output: 'no' }];
  assert.deepEqual(inspectState({ state: running, health: { status: 'unhealthy', failingStreak: 3, log } }).Health, {
    Status: 'unhealthy',
    FailingStreak: 3,
    Log: [{ Start: '1970-01-01T00:00:01.000Z', End: '1970-01-01T00:00:02.000Z', ExitCode: 1, Output: 'no' }],
  });
});
