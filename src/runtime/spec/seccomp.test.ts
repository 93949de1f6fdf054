import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultSeccomp } from './seccomp.ts';
import { seccompFor } from './seccomp-profile.ts';
import { parseSecurityOptions } from './security.ts';

const allowed = (capabilities: string[], machine = 'x64') =>
  new Map(defaultSeccomp(capabilities, machine).syscalls.flatMap((rule) => rule.names.map((name) => [name, rule] as const)));

test('the default profile leaves dangerous calls out', () => {
  const rules = allowed([]);
  for (const name of [
    'mount',
    'bpf',
    'reboot',
    'kexec_load',
    'init_module',
    'io_uring_setup',
    'keyctl',
    'add_key',
    'userfaultfd',
    'unshare',
    'setns',
    'perf_event_open',
  ]) {
    assert.equal(rules.has(name), false, name);
  }
  for (const name of ['read', 'openat2', 'execve', 'futex', 'statx']) assert.equal(rules.get(name)?.action, 'SCMP_ACT_ALLOW', name);
});

test('clone3 answers ENOSYS and clone refuses new namespaces, unless the container is an administrator', () => {
  const rules = allowed([]);
  assert.deepEqual(rules.get('clone3'), { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 });
  assert.deepEqual(rules.get('clone')?.args, [{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }]);
  const admin = allowed(['CAP_SYS_ADMIN']);
  assert.equal(admin.get('clone3')?.action, 'SCMP_ACT_ALLOW');
  assert.equal(admin.get('mount')?.action, 'SCMP_ACT_ALLOW');
});

test('machines have their own calls and sub-architectures', () => {
  assert.ok(allowed([], 'x64').has('arch_prctl') && !allowed([], 'arm64').has('arch_prctl'));
  assert.ok(allowed([], 'arm64').has('cacheflush'));
  assert.deepEqual(defaultSeccomp([], 'arm64').architectures, ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']);
});

test('a profile in the format of Docker has its conditions resolved', () => {
  const profile = {
    defaultAction: 'SCMP_ACT_ERRNO',
    syscalls: [
      { names: ['read'], action: 'SCMP_ACT_ALLOW' },
      { names: ['mount'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
      { names: ['chroot'], action: 'SCMP_ACT_ALLOW', excludes: { caps: ['CAP_SYS_ADMIN'] } },
      { names: ['x'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['s390x'] } },
    ],
  };
  const names = (capabilities: string[]) =>
    seccompFor(JSON.stringify(profile), false, capabilities)?.syscalls.flatMap((rule) => rule.names);
  assert.deepEqual(names([]), ['read', 'chroot']);
  assert.deepEqual(names(['CAP_SYS_ADMIN']), ['read', 'mount']);
  assert.equal(seccompFor('unconfined', false, []), undefined);
  assert.throws(() => seccompFor('{}', false, []), /no defaultAction/);
});

test('security options come in both spellings', () => {
  assert.deepEqual(parseSecurityOptions(['no-new-privileges', 'seccomp:unconfined', 'apparmor=mine', 'label=disable']), {
    noNewPrivileges: true,
    unmaskAll: false,
    seccomp: 'unconfined',
    apparmor: 'mine',
    labels: ['disable'],
  });
  assert.throws(() => parseSecurityOptions(['fly=high']), /invalid --security-opt 2: "fly=high"/);
});
