import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ByteString } from '../../../src/base/bytes.ts';
import { lchown, mkfifo, mknod, setTimes } from '../../../src/kernel/files.ts';
import { S_IFBLK, S_IFCHR } from '../../../src/kernel/stat.ts';
import { removeXattr, setXattr } from '../../../src/kernel/xattr.ts';
import { raw } from './file-system.ts';

const value = (text: string) => text as ByteString;
/** struct vfs_ns_cap_data, revision 2: cap_net_bind_service, permitted and effective. */
const capability = value('\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00');
/** Version 2; user rw, user 1000 r, group r, mask r, other none. */
const acl = value(
  '\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff \0\0\0\xff\xff\xff\xff',
);

/** Fills an empty root with one of everything that a tree can hold. */
export function populate(root: string): void {
  const at = (path: string) => join(root, path);
  for (const folder of [
    'etc',
    'usr/bin',
    'usr/lib/deep/er',
    'var/cache/a',
    'var/cache/b',
    'opt/app/src',
    'opt/app/node_modules',
    'srv',
    'swap/one',
    'swap/two',
  ]) {
    mkdirSync(at(folder), { recursive: true });
  }
  for (const folder of [
    'etc',
    'usr/lib',
    'usr/lib/deep',
    'usr/lib/deep/er',
    'var/cache/a',
    'var/cache/b',
    'opt/app/src',
    'swap/one',
    'swap/two',
  ]) {
    for (const name of ['first', 'second', 'third']) writeFileSync(at(`${folder}/${name}`), `${folder}/${name}\n`.repeat(10));
  }
  for (let i = 0; i < 300; i++) writeFileSync(at(`opt/app/node_modules/module-${i}-${'n'.repeat(i % 40)}`), `module ${i}`);
  writeFileSync(at('empty'), '');
  writeFileSync(at('big'), Buffer.alloc(3_000_000, 'big'));
  writeFileSync(raw(root, 'not-\xff-utf8'), 'bytes');
  writeFileSync(at(`${'l'.repeat(255)}`), 'long name');
  symlinkSync('etc/first', at('link'));
  symlinkSync('t'.repeat(3000), at('long-link'));
  symlinkSync('usr/bin', at('bin'));
  mkfifo(at('fifo'), 0o640);
  mknod(at('null'), S_IFCHR | 0o666, 1, 3);
  mknod(at('disk'), S_IFBLK | 0o660, 259, 300_000);
  writeFileSync(at('usr/bin/tool'), '#!/bin/sh\n', { mode: 0o755 });
  chmodSync(at('usr/bin/tool'), 0o4755);
  setXattr(at('usr/bin/tool'), 'security.capability', capability);
  setXattr(at('etc/first'), 'user.note', value('\0\xff'));
  setXattr(at('etc/second'), 'system.posix_acl_access', acl);
  setXattr(at('etc'), 'system.posix_acl_default', acl);
  setXattr(at('etc/third'), 'trusted.overlay.custom', value('of a nested overlay'));
  setXattr(at('etc/third'), 'user.large', value('x'.repeat(2000)));
  sparse(at('sparse'), 70 * 2 ** 20, 'end');
  for (const [group, names] of Object.entries({
    perl: ['usr/bin/perl', 'usr/bin/perl5', 'usr/lib/deep/perl'],
    pair: ['srv/a', 'srv/b'],
    trio: ['srv/x', 'srv/y', 'var/cache/z'],
  })) {
    const [first = '', ...others] = names;
    writeFileSync(at(first), `content of ${group}\n`.repeat(100));
    for (const other of others) linkSync(at(first), at(other));
  }
  for (const name of ['still-1', 'still-2']) linkSync(at('opt/app/src/first'), at(`opt/app/src/${name}`));
  mknod(at('srv/fifo-a'), 0o010644, 0, 0);
  linkSync(at('srv/fifo-a'), at('srv/fifo-b'));
  lchown(at('link'), 1000, 70_000);
  chownSync(at('var/cache'), 4_000_000, 4_000_001);
  setTimes(at('usr/lib'), -1, 999_999_999);
  setTimes(at('link'), 1, 1);
  setTimes(at('etc/first'), 5_000_000_000, 123_456_789);
  chmodSync(root, 0o751);
  setXattr(root, 'user.root', value('yes'));
  setTimes(root, 1_000_000_000, 42);
}

/** Changes a populated root in every way that there is. */
export function changeEverything(root: string): void {
  const at = (path: string) => join(root, path);
  // Content, metadata, and metadata alone (which copies up no content).
  appendFileSync(at('etc/first'), 'more');
  writeFileSync(at('usr/lib/first'), 'other');
  truncateSync(at('big'), 1_000_001);
  chmodSync(at('etc/second'), 0o600);
  chownSync(at('etc/third'), 65_536, 1);
  setTimes(at('usr/lib/second'), 7, 8);
  setXattr(at('usr/lib/third'), 'user.added', value('1'));
  removeXattr(at('etc/first'), 'user.note');
  setXattr(at('usr/lib/deep/first'), 'security.capability', capability);
  chmodSync(at('usr/bin/tool'), 0o6711);
  setXattr(at('etc/third'), 'trusted.overlay.opaque', value('y'));
  lchown(at('link'), 0, 0);
  setTimes(at('fifo'), 3, 4);
  chmodSync(at('null'), 0o600);
  chmodSync(at('sparse'), 0o600);
  // Deleted, and replaced by another type.
  unlinkSync(at('empty'));
  rmSync(at('var/cache/a'), { recursive: true });
  replace(at('usr/lib/deep/second'), () => mkdirSync(at('usr/lib/deep/second')));
  replace(at('usr/lib/deep/er'), () => writeFileSync(at('usr/lib/deep/er'), 'a file now'));
  replace(at('long-link'), () => mkfifo(at('long-link'), 0o600));
  replace(at('bin'), () => mkdirSync(at('bin')));
  replace(at('disk'), () => symlinkSync('nowhere', at('disk')));
  // An opaque directory: the same name, none of the old entries but one of the same name.
  rmSync(at('var/cache/b'), { recursive: true });
  mkdirSync(at('var/cache/b'));
  writeFileSync(at('var/cache/b/second'), 'new second');
  // Renamed directories, with changes below, again below, and into a new one.
  renameSync(at('opt/app'), at('opt/application'));
  unlinkSync(at('opt/application/src/second'));
  chmodSync(at('opt/application/src/third'), 0o400);
  writeFileSync(at('opt/application/src/fourth'), 'new');
  unlinkSync(at('opt/application/node_modules/module-7-nnnnnnn'));
  renameSync(at('opt/application/node_modules'), at('srv/modules'));
  mkdirSync(at('new/parent'), { recursive: true });
  renameSync(at('srv/modules'), at('new/parent/modules'));
  chmodSync(at('new/parent/modules/module-9-nnnnnnnnn'), 0o111);
  renameSync(at('new/parent/modules/module-9-nnnnnnnnn'), at('moved-metacopy'));
  renameSync(at('swap/one'), at('swap/zero'));
  renameSync(at('swap/two'), at('swap/one'));
  renameSync(at('swap/zero'), at('swap/two'));
  renameSync(raw(root, 'not-\xff-utf8'), raw(root, 'still-\xfe-not'));
  // A renamed file whose old name is used again.
  renameSync(at('usr/lib/deep/third'), at('usr/lib/deep/was-third'));
  writeFileSync(at('usr/lib/deep/third'), 'successor');
  // Hardlinks of the base: written, metadata, renamed, one name gone, joined by a new name, replaced.
  appendFileSync(at('usr/bin/perl'), 'patched');
  chmodSync(at('srv/a'), 0o700);
  unlinkSync(at('srv/x'));
  setTimes(at('srv/y'), 99, 1);
  linkSync(at('opt/application/src/still-1'), at('still-3'));
  renameSync(at('srv/fifo-a'), at('srv/fifo-c'));
  writeFileSync(at('usr/lib/deep/perl.new'), readFileSync(at('usr/lib/deep/perl')));
  renameSync(at('usr/lib/deep/perl.new'), at('usr/lib/deep/perl'));
  // Hardlinks of its own, to old and to new files.
  linkSync(at(`${'l'.repeat(255)}`), at('second-name'));
  writeFileSync(at('new/file'), 'new');
  linkSync(at('new/file'), at('new/parent/linked'));
  linkSync(at('link'), at('link-too'));
  // New files of every type.
  sparse(at('new/sparse'), 50 * 2 ** 20, 'tail');
  mkfifo(at('new/fifo'), 0o622);
  mknod(at('new/tty'), S_IFCHR | 0o620, 5, 1);
  symlinkSync('../\xe9', at('new/symlink'));
  writeFileSync(raw(root, 'new/\x80\x81'), '');
  mkdirSync(at('new/deep/er/and/er'), { recursive: true, mode: 0o2775 });
  setXattr(at('new/deep'), 'system.posix_acl_default', acl);
  setXattr(at('new/deep'), 'user.dir', value('d'));
  chownSync(at('new/deep'), 3_000_000_000, 5);
  setTimes(at('new/deep'), -12_345, 6);
  setXattr(root, 'user.root', value('changed'));
  chmodSync(root, 0o711);
  setTimes(root, 2_000_000_000, 7);
}

function replace(path: string, make: () => void): void {
  rmSync(path, { recursive: true });
  make();
}

function sparse(path: string, size: number, text: string): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, size);
  writeSync(fd, text, size - text.length - 10);
  writeSync(fd, 'start', 0);
  closeSync(fd);
}
