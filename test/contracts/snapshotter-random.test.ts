import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteString } from '../../src/base/bytes.ts';
import { isErrno } from '../../src/base/errors.ts';
import { lchown, mkfifo, setTimes } from '../../src/kernel/files.ts';
import { listMounts, unmountIfMounted } from '../../src/kernel/mount.ts';
import { setXattr } from '../../src/kernel/xattr.ts';
import { ErofsOverlaySnapshotter } from '../../src/snapshot/drivers/erofs-overlay.ts';
import { HardlinkOverlaySnapshotter } from '../../src/snapshot/drivers/hardlink-overlay.ts';
import type { Snapshotter } from '../../src/snapshot/port.ts';
import { openStoreForTest } from '../support/store.ts';
import { scan } from './support/file-system.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };
/** More for a thorough run: SLIPWAY_SNAPSHOT_RUNS=500. */
const runs = Number(process.env.SLIPWAY_SNAPSHOT_RUNS ?? 12);

type Operation = { readonly verb: keyof typeof verbs | 'remount'; readonly path: string; readonly other: string; readonly number: number };

/** Few names, so that operations meet: the same path is file, directory, link and nothing in turn. */
const name = fc.constantFrom('a', 'b', 'c', 'd');
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));

const verbs: Record<string, (path: string, other: string, number: number) => void> = {
  write: (path, _, number) => writeFileSync(path, `written ${number}`),
  append: (path, _, number) => appendFileSync(path, `+${number}`),
  truncate: (path, _, number) => truncateSync(path, number % 30),
  chmod: (path, _, number) => chmodSync(path, 0o400 + (number % 0o400)),
  chown: (path, _, number) => lchown(path, number, number + 1),
  times: (path, _, number) => setTimes(path, number, number),
  xattr: (path, _, number) => setXattr(path, 'user.number', String(number) as ByteString),
  remove: (path) => rmSync(path, { recursive: true }),
  unlink: (path) => unlinkSync(path),
  mkdir: (path) => mkdirSync(path, { recursive: true }),
  rename: (path, other) => renameSync(path, other),
  renameOver: (path, other) => {
    rmSync(other, { recursive: true, force: true });
    renameSync(path, other);
  },
  link: (path, other) => linkSync(path, other),
  symlink: (path, other) => symlinkSync(other.slice(-20), path),
  fifo: (path) => mkfifo(path, 0o600),
};

const operation: fc.Arbitrary<Operation> = fc.record({
  verb: fc.oneof({ weight: 1, arbitrary: fc.constant('remount') }, { weight: 30, arbitrary: fc.constantFrom(...Object.keys(verbs)) }),
  path,
  other: path,
  number: fc.nat(10_000),
});

/** Long ones by choice: what goes wrong goes wrong between changes. */
const changes = fc.array(operation, { maxLength: 60, size: 'max' });

/** A base with hardlinks inside directories and across them. */
function populate(root: string): void {
  const at = (relative: string) => join(root, relative);
  for (const first of ['a', 'b', 'c']) {
    for (const second of ['a', 'b']) {
      mkdirSync(at(`${first}/${second}/c`), { recursive: true });
      writeFileSync(at(`${first}/${second}/d`), `${first}${second}d`);
      writeFileSync(at(`${first}/${second}/c/a`), `${first}${second}ca`);
    }
    linkSync(at(`${first}/a/d`), at(`${first}/d`));
    linkSync(at(`${first}/a/d`), at(`${first}/b/c/b`));
    linkSync(at(`${first}/b/d`), at(`${first}/c`));
  }
  linkSync(at('a/a/c/a'), at('d'));
}

async function apply(snapshots: Snapshotter, id: string, root: string, operations: readonly Operation[]): Promise<void> {
  for (const { verb, path, other, number } of operations) {
    if (verb === 'remount') {
      await snapshots.unmount(id);
      await snapshots.mount(id);
      continue;
    }
    const target = join(root, path);
    // A fifo or a symlink to one would block a writer; a symlink leads to another path, which has its own turn.
    try {
      if (['write', 'append', 'truncate', 'chmod'].includes(verb) && !isPlain(target)) continue;
      verbs[verb]?.(target, join(root, other), number);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR', 'EINVAL', 'ENOTEMPTY', 'EPERM', 'EXDEV', 'ELOOP', 'ERR_FS_EISDIR'))
        throw error;
    }
  }
}

function isPlain(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat === undefined || stat.isFile() || stat.isDirectory();
}

for (const Driver of [ErofsOverlaySnapshotter, HardlinkOverlaySnapshotter]) {
  test(`${Driver.name}: any sequence of changes is captured as it shows`, needsRoot, async () => {
    const runDirectory = mkdtempSync(join(tmpdir(), 'slipway-run-'));
    await using store = await openStoreForTest({ jobIdleMs: 5000 });
    const snapshots = new Driver({ store, runDirectory });
    try {
      const made = await snapshots.create('made', store.trees.empty.id);
      populate(made.rootfs);
      const base = await snapshots.capture('made');
      let next = 0;
      const property = fc.asyncProperty(changes, changes, async (...rounds) => {
        let tree = base.id;
        for (const operations of rounds) {
          const [id, again] = [`n-${next++}`, `n-${next++}`];
          const { rootfs } = await snapshots.create(id, tree);
          await apply(snapshots, id, rootfs, operations);
          const seen = scan(rootfs);
          tree = (await snapshots.capture(id)).id;
          const copy = await snapshots.create(again, tree);
          assert.deepEqual(scan(copy.rootfs), seen);
          assert.equal((await snapshots.capture(again)).id, tree);
          await snapshots.remove(id);
          await snapshots.remove(again);
        }
      });
      await fc.assert(property, { numRuns: runs, ...(runs > 12 ? {} : { seed: 20_240, endOnFailure: true }) });
    } finally {
      for (const { mountPoint } of listMounts().reverse()) if (mountPoint.startsWith(`${runDirectory}/snap/`)) unmountIfMounted(mountPoint);
      await snapshots.close();
      rmSync(runDirectory, { recursive: true, force: true });
    }
  });
}
