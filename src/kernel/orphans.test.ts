import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { adoptOrphans, orphanEnded } from './orphans.ts';
import { runProgram } from './run-program.ts';

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
