import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type MountInfo, parseMountInfo } from '../kernel/mount.ts';
import { crunPrefix, objectionToCrun } from './crun.ts';

const mounts = (...lines: string[]): MountInfo[] =>
  parseMountInfo(lines.map((line, i) => `${30 + i} ${i === 0 ? 1 : 30} 0:${i} / ${line}`).join('\n'));
const top = '/sys/fs/cgroup rw - tmpfs tmpfs rw';
const memory = '/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory';
const controllers = '/sys/fs/cgroup/unified/cgroup.controllers';
const hasControllers = existsSync(controllers) && readFileSync(controllers, 'latin1').trim() !== '';

test('crun runs as it is on v1 and on v2', () => {
  assert.deepEqual(crunPrefix(mounts(top, memory)), []);
  assert.deepEqual(crunPrefix(mounts('/sys/fs/cgroup rw - cgroup2 cgroup2 rw')), []);
});

test('on a hybrid host it gets a mount namespace without the v2 hierarchy, and an unmount there stays there', {
  skip: !hasControllers && 'the v2 hierarchy of this host has no controllers, or it has one hierarchy only',
}, () => {
  const unified = '/sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw';
  const find = (name: string) => `/bin/${name}`;
  const shared = crunPrefix(mounts(`${top.replace(' rw -', ' rw shared:4 -')}`, memory, unified), find)?.join(' ') ?? '';
  assert.match(shared, /--make-private \/sys\/fs\/cgroup && .*umount/);
  assert.doesNotMatch(crunPrefix(mounts(top, memory, unified), find)?.join(' ') ?? '', /make-private/);
  assert.equal(
    crunPrefix(mounts(top, memory, unified), () => undefined),
    undefined,
  );
});

test('the prefix hides the v2 hierarchy from the program alone', {
  skip: (process.getuid?.() !== 0 && 'needs root') || (!hasControllers && 'not a hybrid host'),
}, () => {
  const [command = '', ...args] = crunPrefix() ?? [];
  const looked = execFileSync(command, [...args, '/bin/sh', '-c', `[ -e ${controllers} ] || echo "hidden from $1"`, 'sh', 'it only'], {
    encoding: 'utf8',
  });
  assert.equal(looked, 'hidden from it only\n');
  assert.ok(existsSync(controllers));
});

test('an old crun, and one that says nothing, are not chosen', () => {
  assert.match(objectionToCrun('0.17', []) ?? '', /0\.17.*1\.8/);
  assert.equal(objectionToCrun('1.8.1', []), undefined);
  assert.equal(objectionToCrun('1.21', []), undefined);
  assert.equal(objectionToCrun('2.0', []), undefined);
  assert.match(objectionToCrun(undefined, []) ?? '', /version/);
  assert.match(objectionToCrun('1.8.1', undefined) ?? '', /hybrid/);
});
