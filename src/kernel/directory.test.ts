import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ByteString, toBytes } from '../base/bytes.ts';
import { DirectoryReader, DirentType } from './directory.ts';
import { getXattr, listXattrs, listXattrsAt, removeXattr, setXattr } from './xattr.ts';

const folder = mkdtempSync(join(tmpdir(), 'slipway-kernel-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const bytes = (text: string) => text as ByteString;

test('a directory of many entries is read whole, names as bytes', () => {
  const path = join(folder, 'many');
  mkdirSync(path);
  for (let i = 0; i < 5000; i++) writeFileSync(join(path, `file-${i}`), '');
  writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0x61])]), '');
  writeFileSync(join(path, '..hidden'), '');
  mkdirSync(join(path, '.d'));
  const reader = new DirectoryReader();
  const fd = reader.open(path);
  const names = reader.read(fd);
  assert.equal(names.length, 5003);
  assert.ok(names.includes(bytes('\xff\x61')) && names.includes(bytes('..hidden')));
  assert.equal(reader.types[names.indexOf(bytes('.d'))], DirentType.directory);
  assert.equal(reader.types[names.indexOf(bytes('file-4999'))], DirentType.file);
  reader.close(fd);
});

test('entries are looked at through their directory, symlinks not followed', () => {
  writeFileSync(join(folder, 'file'), 'four', { mode: 0o640 });
  symlinkSync('file', join(folder, 'link'));
  const reader = new DirectoryReader();
  const fd = reader.open(folder);
  assert.equal(reader.statAt(fd, bytes('file')).size, 4);
  assert.equal(reader.stat.mode, 0o100640);
  assert.equal(reader.statAt(fd, bytes('link')).mode & 0o170000, 0o120000);
  assert.equal(reader.readLinkAt(fd, bytes('link')), 'file');
  assert.throws(() => reader.openAt(fd, bytes('link')), { syscall: 'openat' });
  assert.throws(() => reader.statAt(fd, bytes('absent')), { code: 'ENOENT' });
  reader.close(fd);
});

test('attributes keep bytes and come sorted; a missing one is undefined', () => {
  const path = join(folder, 'attributes-\u00e9');
  writeFileSync(path, '');
  setXattr(path, 'user.z', bytes(''));
  setXattr(path, 'user.a', bytes('\x00\xff'));
  assert.deepEqual(
    listXattrs(path).filter(([name]) => name.startsWith('user.')),
    [
      ['user.a', '\x00\xff'],
      ['user.z', ''],
    ],
  );
  const reader = new DirectoryReader();
  const fd = reader.open(folder);
  assert.equal(listXattrsAt(fd, toBytes('attributes-\u00e9')).length, 2);
  reader.close(fd);
  assert.equal(getXattr(path, 'user.none'), undefined);
  removeXattr(path, 'user.a');
  assert.throws(() => removeXattr(path, 'user.a'), { code: 'ENODATA' });
});
