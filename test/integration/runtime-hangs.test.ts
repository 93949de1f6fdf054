import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { findProgram } from '../../src/host/programs.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { cannotRun, closeHarness, eventually, execIn, execOf, type Harness, makeHarness, startIn } from './runtime-support.ts';

const skip = cannotRun;
const folder = mkdtempSync(join(tmpdir(), 'slipway-hangs-'));
const mode = join(folder, 'mode');
/** Enough for a verb that does not hang, on a host that has much to do. */
const limitMs = 2_000;
let harness: Harness;

/** A runtime that hangs, or fails, in the verb that a file names. */
before(async () => {
  if (skip) return;
  const script = join(folder, 'moody');
  writeFileSync(
    script,
    `#!/bin/sh
read verb how < ${mode}
case " $* " in *" $verb "*) [ "$how" = fail ] && { echo "moody: no $verb" >&2; exit 1; }; tail -f ${mode};; esac
exec ${findProgram('runc')} "$@"
`,
  );
  chmodSync(script, 0o755);
  mkdirSync(join(folder, 'state'));
  const runtime = new OciRuntime({ name: 'moody', command: script, root: join(folder, 'state'), timeoutMs: limitMs });
  be('well');
  harness = await makeHarness({}, { runtimes: [runtime], createTimeoutMs: limitMs });
});
after(async () => {
  be('well');
  if (!skip) await closeHarness(harness);
  rmSync(folder, { recursive: true });
});

function be(verb: string, how = 'hang'): void {
  writeFileSync(mode, `${verb} ${how}\n`);
}

const request = { HostConfig: { Runtime: 'moody' } };
const coded = (code: string) => (error: unknown) => error instanceof EngineError && error.code === code;

/** What hangs, and who started it: not the monitor of a container that runs. */
function processesLeft(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return line.includes(folder) && !line.includes('conmon') ? [line.replaceAll('\0', ' ')] : [];
      } catch {
        return [];
      }
    });
}

for (const how of ['hang', 'fail']) {
  test(`a runtime that ${how}s at creation: the start says so, and nothing of it stays`, { skip }, async () => {
    be('create', how);
    const startedAt = performance.now();
    await assert.rejects(startIn(harness, ['true'], request), coded(how === 'hang' ? 'CREATE_TIMEOUT' : 'CREATE_FAILED'));
    assert.ok(performance.now() - startedAt < 25_000);
    const [{ id, state } = { id: '', state: undefined }] = await harness.engine.list();
    assert.ok(state?.status === 'created' && state.exitCode === 125 && state.error, JSON.stringify(state));
    await eventually(() => processesLeft().length === 0, 'everything that the runtime began has ended');
    be('well');
    await harness.engine.start(id);
    assert.equal((await harness.engine.wait(id, 'next-exit')).exitCode, 0);
    await harness.engine.remove(id);
  });

  test(`a runtime that ${how}s at an exec: it is said, and the container runs on`, { skip }, async () => {
    const id = await startIn(harness, ['sleep', '60'], request);
    be('exec', how);
    const { id: execId } = await harness.engine.execCreate(id, execOf(['true']));
    const words = how === 'hang' ? /did not begin the process within 2 s/ : /OCI runtime exec failed/;
    await assert.rejects(harness.engine.execStart(execId, { detach: false }), words);
    await eventually(() => processesLeft().length === 0, 'everything that the runtime began has ended');
    be('well');
    assert.equal((await execIn(harness, id, ['true'])).exitCode, 0);
    await harness.engine.remove(id, { force: true });
  });

  test(`a runtime that ${how}s at the end: the exit code is told, and a removal can be tried again`, { skip }, async () => {
    const id = await startIn(harness, ['sh', '-c', 'sleep 0.2; exit 6'], request);
    be('delete', how);
    assert.deepEqual(await harness.engine.wait(id), { exitCode: 6 });
    await eventually(() => harness.errors.length > 0, 'the failure is reported');
    be('well');
    await harness.engine.remove(id);
    harness.errors.length = 0;
    assert.deepEqual(await harness.engine.list(), []);
  });
}
