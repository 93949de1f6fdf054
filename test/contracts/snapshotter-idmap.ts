import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ByteString } from '../../src/base/bytes.ts';
import { openUserNamespace } from '../../src/kernel/user-namespace.ts';
import type { IdMap } from '../../src/snapshot/port.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { World } from './snapshotter.ts';

const ranges = (outside: number) => [
  { inside: 0, outside, count: 1000 },
  { inside: 1000, outside: outside + 5000, count: 64_536 },
];
const idMap: IdMap = { uids: ranges(100_000), gids: ranges(200_000) };

/** Runs a shell in a user namespace with the map, as its root, in `directory`. */
async function inside(directory: string, script: string): Promise<string> {
  const fd = await openUserNamespace(idMap.uids, idMap.gids);
  try {
    const args = [`--user=/proc/${process.pid}/fd/${fd}`, '-S', '0', '-G', '0', 'sh', '-ec', script];
    return (await execute('nsenter', args, { cwd: directory })).stdout;
  } finally {
    closeSync(fd);
  }
}

const execute = promisify(execFile);
const owner = (path: string) => {
  const { uid, gid } = lstatSync(path);
  return `${uid}:${gid}`;
};

type Contract = (title: string, body: (world: World) => Promise<void>) => void;

/** Roots and views as user namespaces see them. */
export function idMapContract(contract: Contract): void {
  contract("a user namespace sees the tree's owners as its own, and what it writes is captured with the tree's", async (world) => {
    const { snapshots, store } = world;
    const base = await populated(world);
    const { rootfs } = await snapshots.create('mapped', base, { idMap });
    assert.equal(owner(rootfs), '100000:200000');
    assert.equal(owner(join(rootfs, 'of-root')), '100000:200000');
    assert.equal(owner(join(rootfs, 'of-user')), '105000:205001');
    assert.equal(readFileSync(join(rootfs, 'dir/one'), 'utf8'), 'linked');
    const said = await inside(
      rootfs,
      `stat -c '%u:%g %a %n' of-root of-user tool dir
       echo changed > of-root; chmod 600 of-user; chown 7:8 dir; echo more >> dir/one
       echo mine > new; chown 1000:1000 new; mkdir -p deep/er; rm gone; ln -s x link; stat -c '%u:%g' new deep link`,
    );
    assert.equal(said, '0:0 644 of-root\n1000:1001 644 of-user\n0:0 4755 tool\n0:0 755 dir\n1000:1000\n0:0\n0:0\n');
    const after = await snapshots.capture('mapped');
    const owners = Object.fromEntries(
      (await store.trees.list(after.id, '' as ByteString)).map(({ name, uid, gid }) => [name, `${uid}:${gid}`]),
    );
    assert.deepEqual(owners, {
      deep: '0:0',
      dir: '7:8',
      link: '0:0',
      new: '1000:1000',
      'of-root': '0:0',
      'of-user': '1000:1001',
      tool: '0:0',
    });
    assert.deepEqual(
      (await snapshots.changes('mapped')).map(({ kind, path }) => `${kind} ${path}`),
      [
        'added deep',
        'added deep/er',
        'modified dir',
        'modified dir/one',
        ...(readdirSync(join(rootfs, 'dir')).includes('two') ? ['modified dir/two'] : []),
        'deleted gone',
        'added link',
        'added new',
        'modified of-root',
        'modified of-user',
      ],
    );
    const plain = await snapshots.create('plain', after.id);
    assert.equal(owner(join(plain.rootfs, 'new')), '1000:1000');
    assert.equal(readFileSync(join(plain.rootfs, 'dir/two'), 'utf8'), 'linkedmore\n', 'hardlinks stay together');
  });

  contract('an id map outlives the mount and the engine, and leaves no mount of its own', async (world) => {
    const base = await populated(world);
    const { rootfs } = await world.snapshots.create('mapped', base, { idMap, disposable: true });
    await inside(rootfs, 'echo kept > new');
    await world.snapshots.unmount('mapped');
    const next = world.again();
    await next.mount('mapped');
    assert.equal(await inside(rootfs, 'cat new; stat -c %u new of-root'), 'kept\n0\n0\n');
    assert.deepEqual(readdirSync(join(world.runDirectory, 'map')), []);
  });

  contract("what the engine itself makes there is root's in a capture", async (world) => {
    const { snapshots, store } = world;
    const { rootfs } = await snapshots.create('mapped', await populated(world), { idMap });
    mkdirSync(join(rootfs, 'work'));
    writeFileSync(join(rootfs, 'work/file'), '');
    chownSync(join(rootfs, 'work/file'), 105_000, 200_000);
    assert.equal(await inside(rootfs, 'stat -c %u:%g work/file'), '1000:0\n');
    const after = await snapshots.capture('mapped');
    const work = await store.trees.lookup(after.id, 'work' as ByteString);
    assert.equal(`${work?.uid}:${work?.gid}`, '0:0');
  });

  contract('a map that the kernel refuses is named, and nothing stays', async (world) => {
    const { snapshots, store, runDirectory } = world;
    const overlapping = [
      { inside: 0, outside: 100_000, count: 10 },
      { inside: 5, outside: 200_000, count: 10 },
    ];
    await assert.rejects(snapshots.create('mapped', store.trees.empty.id, { idMap: { uids: overlapping, gids: idMap.gids } }), {
      kind: 'InvalidArgument',
      code: 'IDMAP_INVALID',
    });
    assert.deepEqual(await snapshots.list(), []);
    assert.deepEqual(readdirSync(runDirectory).includes('map') ? readdirSync(join(runDirectory, 'map')) : [], []);
  });

  contract('a view shows a tree read-only, to a user namespace with its owners, until its user ends', async (world) => {
    const { snapshots, runDirectory } = world;
    const base = await populated(world);
    const plain = await snapshots.view('viewer', base);
    assert.equal(await snapshots.view('viewer', base), plain);
    assert.equal(readFileSync(join(plain, 'of-root'), 'utf8'), 'r');
    assert.equal(owner(join(plain, 'of-user')), '1000:1001');
    assert.throws(() => writeFileSync(join(plain, 'new'), ''), { code: 'EROFS' });
    assert.throws(() => unlinkSync(join(plain, 'of-root')), { code: 'EROFS' });
    const mapped = await snapshots.view('mapped', base, { idMap });
    assert.equal(await inside(mapped, 'stat -c %u:%g of-root of-user; cat dir/two'), '0:0\n1000:1001\nlinked');
    assert.deepEqual((await world.again().viewUsers()).sort(), ['mapped', 'viewer']);
    await snapshots.endViews('mapped');
    await snapshots.endViews('viewer');
    await snapshots.endViews('viewer');
    assert.deepEqual(readdirSync(join(runDirectory, 'view')), []);
  });
}

async function populated({ snapshots, store }: World): Promise<TreeId> {
  const { rootfs } = await snapshots.create('source', store.trees.empty.id);
  const at = (name: string) => join(rootfs, name);
  writeFileSync(at('of-root'), 'r');
  writeFileSync(at('of-user'), 'u');
  chownSync(at('of-user'), 1000, 1001);
  writeFileSync(at('tool'), '#!/bin/sh\n');
  chmodSync(at('tool'), 0o4755);
  writeFileSync(at('gone'), 'g');
  mkdirSync(at('dir'));
  writeFileSync(at('dir/one'), 'linked');
  linkSync(at('dir/one'), at('dir/two'));
  chmodSync(rootfs, 0o755);
  const { id } = await snapshots.capture('source');
  await snapshots.remove('source');
  return id;
}
