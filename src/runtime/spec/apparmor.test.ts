import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { apparmorProfile, defaultProfile, defaultProfileName, ensureDefaultProfile, loadedApparmorProfiles } from './apparmor.ts';

test('the profile is what was asked, the default, or none', () => {
  assert.equal(apparmorProfile(undefined, {}, undefined), undefined, 'no AppArmor');
  assert.equal(apparmorProfile('mine', {}, undefined), undefined);
  assert.equal(apparmorProfile(undefined, {}, []), 'docker-default');
  assert.equal(apparmorProfile(undefined, { Privileged: true }, []), 'unconfined');
  assert.equal(apparmorProfile('mine', { Privileged: true }, []), 'mine');
});

test('the default denies what reaches the host and lets the engine and the runtimes send signals', () => {
  const text = defaultProfile('docker-default', 'slipway-daemon', { global: true, base: false, abi: true });
  for (const line of [
    'deny mount,',
    'deny @{PROC}/kcore rwklx,',
    'deny /sys/firmware/** rwklx,',
    'deny @{PROC}/sysrq-trigger rwklx,',
    'deny network alg,',
  ])
    assert.ok(text.includes(`  ${line}\n`), line);
  for (const peer of ['unconfined', 'runc', 'crun', '"slipway-daemon"']) assert.ok(text.includes(`signal (receive) peer=${peer},`), peer);
  assert.match(
    text,
    /^abi <abi\/3\.0>,\n#include <tunables\/global>\nprofile "docker-default" flags=\(attach_disconnected,mediate_deleted\) \{\n {2}network,/,
  );
  assert.equal(text.split('{').length, text.split('}').length);
  assert.match(
    defaultProfile('x', 'y', { global: false, base: true, abi: false }),
    /^@\{PROC\}=\/proc\/\nprofile "x" .*\n {2}#include <abstractions\/base>/,
  );
});

test('it is loaded when it is needed and not there, and a failure says why', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-apparmor-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const parser = join(directory, 'parser');
  const given = join(directory, 'given');
  writeFileSync(parser, `#!/bin/sh\necho "$@" > ${directory}/args; cat > ${given}\n`, { mode: 0o755 });
  await ensureDefaultProfile('mine', { loaded: () => [], parser });
  await ensureDefaultProfile(defaultProfileName, { loaded: () => undefined, parser });
  await ensureDefaultProfile(defaultProfileName, { loaded: () => ['docker-default'], parser });
  assert.equal(existsSync(given), false);
  await ensureDefaultProfile(defaultProfileName, { loaded: () => ['other'], parser });
  assert.match(readFileSync(given, 'utf8'), /profile "docker-default"/);
  assert.equal(readFileSync(join(directory, 'args'), 'utf8'), '-Kr\n');
  writeFileSync(parser, '#!/bin/sh\necho "syntax error" >&2; exit 1\n');
  await assert.rejects(ensureDefaultProfile(defaultProfileName, { loaded: () => [], parser }), {
    code: 'APPARMOR_FAILED',
    message: /docker-default profile could not be loaded: syntax error/,
  });
  await assert.rejects(ensureDefaultProfile(defaultProfileName, { loaded: () => [], parser: `${directory}/absent` }), /is not installed/);
});

test("the kernel's list of profiles", (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-apparmor-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const [enabled, profiles] = [join(directory, 'enabled'), join(directory, 'profiles')];
  assert.equal(loadedApparmorProfiles({ enabled, profiles }), undefined);
  writeFileSync(enabled, 'N\n');
  assert.equal(loadedApparmorProfiles({ enabled, profiles }), undefined);
  writeFileSync(enabled, 'Y\n');
  writeFileSync(profiles, 'docker-default (enforce)\n/usr/bin/man (complain)\n');
  assert.deepEqual(loadedApparmorProfiles({ enabled, profiles }), ['docker-default', '/usr/bin/man']);
});
