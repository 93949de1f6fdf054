import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { adoptOrphans, orphanEnded } from './orphans.ts';
import { killProcess } from './process.ts';
import { runProgram } from './run-program.ts';

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

/** The process number of a background child of a shell that has ended. */
async function orphan(script: string): Promise<number> {
  adoptOrphans();
  const { stdout } = await runProgram('/bin/sh', ['-c', `(${script}) >/dev/null 2>&1 & echo $!`], { env: process.env, timeoutMs: 5_000 });
  return Number(stdout);
}

test('a process whose parent has ended tells how it ends, whether it is asked before or after', async (t) => {
  // Only something else keeps the event loop going.
  const busy = setInterval(() => undefined, 1_000);
  t.after(() => clearInterval(busy));
  const running = orphanEnded(await orphan('sleep 0.5; exit 7'));
  const sleeping = await orphan('exec sleep 5');
  const killed = orphanEnded(sleeping);
  process.kill(sleeping, 'SIGKILL');
  const ended = await orphan('sleep 0.05; exit 5');
  await sleep(300);
  assert.equal(await orphanEnded(ended), 5);
  assert.equal(await running, 7);
  assert.equal(await killed, 137);
  assert.equal(existsSync(`/proc/${ended}`), false);
  assert.equal(await orphanEnded(ended), undefined, 'once');
});
