import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SealedProgram } from './sealed-program.ts';

const skip = existsSync('/sys/fs/selinux/enforce') && 'with SELinux programs are run from their own files';

/** A program by the name of a runtime that copies itself. */
function program(t: TestContext): { directory: string; path: string } {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-sealed-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'crun');
  copyFileSync('/bin/echo', path);
  chmodSync(path, 0o755);
  return { directory, path };
}

test('the copy runs, under the name of the program, and cannot be written to', { skip }, (t) => {
  const { directory, path } = program(t);
  const sealed = new SealedProgram(path, join(directory, 'copies'));
  const copy = sealed.path();
  assert.equal(copy, join(directory, 'copies/crun'));
  assert.equal(sealed.path(), copy);
  assert.equal(execFileSync(copy, ['hello'], { encoding: 'utf8' }), 'hello\n');
  assert.throws(() => writeFileSync(copy, 'x', { flag: 'r+' }), /EPERM|EACCES|ETXTBSY/);
  sealed.close();
  assert.ok(!existsSync(copy));
});

test('a program that is replaced is copied anew, one that is gone is named', { skip }, (t) => {
  const { directory, path } = program(t);
  const sealed = new SealedProgram(path, join(directory, 'copies'));
  sealed.path();
  copyFileSync('/bin/pwd', path);
  utimesSync(path, 1, 1);
  assert.deepEqual(readFileSync(sealed.path()), readFileSync('/bin/pwd'));
  rmSync(path);
  assert.equal(sealed.path(), path);
  sealed.close();
});

test('what does not copy itself is run as it is', (t) => {
  const { directory } = program(t);
  assert.equal(new SealedProgram('/usr/bin/runsc', join(directory, 'copies')).path(), '/usr/bin/runsc');
});
