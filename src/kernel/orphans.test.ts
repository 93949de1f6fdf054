import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { adoptOrphans } from './orphans.ts';
import { killProcess } from './process.ts';

const SIGKILL = 9;

function childOf({ pid }: ChildProcess): number | undefined {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0]) || undefined;
}

async function waitForChild(parent: ChildProcess): Promise<number> {
  for (let tries = 0; tries < 200; tries++) {
    const child = childOf(parent);
    // unshare and nsenter are their own child for a moment.
    if (child !== undefined && readFileSync(`/proc/${child}/comm`, 'utf8') === 'sleep\n') return child;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it started nothing');
}

test('what joined a PID namespace and lost its parent does not keep the namespace from ending', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, async (t) => {
  adoptOrphans();
  const unshare = spawn('unshare', ['--pid', '--fork', '--kill-child', 'sleep', '1000'], { stdio: 'ignore' });
  t.after(() => unshare.kill('SIGKILL'));
  const first = await waitForChild(unshare);
  const nsenter = spawn('nsenter', ['--target', String(first), '--pid', 'sleep', '1000'], { stdio: 'ignore' });
  t.after(() => nsenter.kill('SIGKILL'));
  await waitForChild(nsenter);
  nsenter.kill('SIGKILL');
  await once(nsenter, 'exit');
  killProcess(first, SIGKILL);
  const ended = await Promise.race([once(unshare, 'exit'), new Promise((resolve) => setTimeout(resolve, 5_000, 'hangs'))]);
  assert.notEqual(ended, 'hangs');
});
