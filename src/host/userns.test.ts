import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseCgroupDriver, requireCgroupDriver } from './cgroups.ts';
import { chooseUserNamespaces, defaultRemapUser, freeRange, resolveRemap, type UserDatabase } from './userns.ts';

function database(
  files: { subuid?: string; subgid?: string } = {},
  users: string[] = ['alice:x:1000:1000::/:/bin/sh'],
): UserDatabase & { added: string[] } {
  const added: string[] = [];
  return {
    added,
    async entry(kind, key) {
      const lines = kind === 'passwd' ? users : [...users.map((line) => `${line.split(':')[0]}:x:${line.split(':')[2]}:`), 'staff:x:50:'];
      return lines.find((line) => [line.split(':')[0], line.split(':')[2]].includes(key));
    },
    ranges: (file) => files[file] ?? '',
    async addUser(name) {
      added.push(name);
      users.push(`${name}:x:999:999::/:`);
      files.subuid = `${files.subuid ?? ''}${name}:500000:65536\n`;
      files.subgid = `${files.subgid ?? ''}${name}:500000:65536\n`;
    },
  };
}

test("a user's ranges follow each other from id 0, by name or by number", async () => {
  const files = {
    subuid: '# a comment\nalice:100000:1000\nbob:1:2\n1000:300000:500\nalice:x:y\n',
    subgid: 'alice:200000:65536\nstaff:700000:10\n',
  };
  const { user, group, idMap } = await resolveRemap('alice', database(files));
  assert.deepEqual([user, group], ['alice', 'alice']);
  assert.deepEqual(idMap.uids, [
    { inside: 0, outside: 100_000, count: 1_000 },
    { inside: 1_000, outside: 300_000, count: 500 },
  ]);
  assert.deepEqual(idMap.gids, [{ inside: 0, outside: 200_000, count: 65_536 }]);
  assert.deepEqual((await resolveRemap('1000:staff', database(files))).idMap.gids, [{ inside: 0, outside: 700_000, count: 10 }]);
});

test('"default" is a user of the engine\'s, made when it is not there', async () => {
  const own = database();
  const remap = await resolveRemap('default', own);
  assert.deepEqual(own.added, [defaultRemapUser]);
  assert.equal(remap.idMap.uids[0]?.outside, 500_000);
  await resolveRemap('default', own);
  assert.equal(own.added.length, 1);
  assert.deepEqual(freeRange('a:100000:65536\n', 'b:165536:65536\n'), { first: 231_072, last: 296_607 });
  assert.deepEqual(freeRange(''), { first: 100_000, last: 165_535 });
});

test('who or what is missing is named', async () => {
  await assert.rejects(resolveRemap('nobody-here', database()), /there is no user "nobody-here"/);
  await assert.rejects(resolveRemap('alice:nothing', database()), /there is no group "nothing"/);
  await assert.rejects(resolveRemap('alice', database()), /no subuid ranges found for user "alice"/);
  await assert.rejects(resolveRemap('alice', database({ subuid: 'alice:1:2\n' })), /no subgid ranges found for group "alice"/);
});

test('doctor says whose ids containers have', async () => {
  assert.equal(chooseUserNamespaces(undefined).name, "the host's");
  const remap = await resolveRemap('alice', database({ subuid: 'alice:100000:9\n', subgid: 'alice:1:9\n' }));
  assert.match(chooseUserNamespaces('alice', remap).why, /ids from 0 inside are those from 100000 on the host/);
});

test('systemd makes the groups where it owns them, or is asked and runs', () => {
  const facts = { controllers: ['cpu'], mode: 'v2', systemd: true } as const;
  const choose = (more: object, asked?: 'cgroupfs' | 'systemd') => chooseCgroupDriver({ ...facts, controllers: [], ...more }, asked).name;
  assert.deepEqual(
    [choose({}), choose({ mode: 'hybrid' }), choose({ systemd: false }), choose({}, 'cgroupfs')],
    ['systemd', 'cgroupfs', 'cgroupfs', 'cgroupfs'],
  );
  assert.equal(choose({ mode: 'v1' }, 'systemd'), 'systemd');
  assert.throws(() => requireCgroupDriver({ mode: 'v2', controllers: [], systemd: false }, 'systemd'), {
    code: 'CGROUP_DRIVER',
    message: /systemd, which does not run here/,
  });
  assert.throws(() => requireCgroupDriver({ mode: 'none', controllers: [], systemd: false }, 'auto'), /no control groups are mounted/);
});
