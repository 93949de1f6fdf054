import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { emulatedArchitectures, emulationOf } from './binfmt.ts';
import { whyNotRunnable } from './runnable.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'slipway-binfmt-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const arm64 = { magic: '7f454c460201010000000000000000000200b700', mask: 'ffffffffffffff00fffffffffffffffffeffffff' };
const s390x = { magic: '7f454c4602020100000000000000000000020016', mask: 'ffffffffffffff00fffffffffffffffffffeffff' };

/** A file as the kernel writes it (fs/binfmt_misc.c, entry_status). */
function register(
  name: string,
  { magic, mask, flags = 'OCF', state = 'enabled' }: { magic: string; mask: string; flags?: string; state?: string },
) {
  const lines = [state, `interpreter /usr/bin/${name}`, `flags: ${flags}`, 'offset 0', `magic ${magic}`, `mask ${mask}`];
  writeFileSync(join(directory, name), `${lines.join('\n')}\n`);
}

test('a handler is known by the executables that it takes, whatever its name', () => {
  register('emulator-a', arm64);
  register('emulator-b', s390x);
  assert.deepEqual(emulationOf('arm64', directory), {
    kind: 'handler',
    name: 'emulator-a',
    interpreter: '/usr/bin/emulator-a',
    fixed: true,
  });
  assert.deepEqual(emulatedArchitectures(directory), ['arm64', 's390x']);
  assert.deepEqual(emulationOf('riscv64', directory), { kind: 'none' });
});

test('a handler that is off, goes by extension or is of an architecture that nobody knows is none', () => {
  register('off', { ...arm64, state: 'disabled' });
  writeFileSync(join(directory, 'jar'), 'enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n');
  assert.deepEqual(emulationOf('arm64', directory), { kind: 'none' });
  assert.deepEqual(emulationOf('pdp11', directory), { kind: 'none' });
});

test('all are off together, and none is there where nothing is mounted', () => {
  register('emulator', arm64);
  writeFileSync(join(directory, 'status'), 'disabled\n');
  assert.deepEqual(emulationOf('arm64', directory), { kind: 'none' });
  assert.deepEqual(emulationOf('arm64', join(directory, 'missing')), { kind: 'none' });
});

test('one that serves any root goes before one that does not', () => {
  register('a-plain', { ...arm64, flags: 'OC' });
  assert.equal((emulationOf('arm64', directory) as { fixed: boolean }).fixed, false);
  register('b-fixed', arm64);
  assert.equal((emulationOf('arm64', directory) as { name: string }).name, 'b-fixed');
});

test('what does not run says which architecture, why, and what to install', () => {
  const host = { os: 'linux', architecture: 'amd64' };
  const arm = { os: 'linux', architecture: 'arm64' };
  const why = (wanted: typeof host) => whyNotRunnable(wanted, host, { what: 'the step', directory });
  assert.equal(why(host), undefined);
  assert.equal(why({ os: 'linux', architecture: '386' }), undefined);
  assert.match(
    why(arm)?.message ?? '',
    /^the step needs programs for arm64 to run on this linux\/amd64 host, and binfmt_misc has no handler/,
  );
  assert.match(why(arm)?.hint ?? '', /qemu-user-static/);
  register('plain', { ...arm64, flags: '' });
  assert.match(why(arm)?.message ?? '', /plain .* lacks the flag F$/);
  register('fixed', arm64);
  assert.equal(why(arm), undefined);
  assert.match(why({ os: 'windows', architecture: 'amd64' })?.message ?? '', /needs a windows host/);
});
