import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { encodeTarHeader } from '../../src/oci/tar/writer.ts';
import { readTar, tarFile, tarMember, writeTar } from './tar.ts';

const isRoot = process.getuid?.() === 0;
let folder = '';
let source = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-tar-'));
  source = join(folder, 'source');
  mkdirSync(join(source, 'dir'), { recursive: true });
  writeFileSync(join(source, 'dir', 'plain'), 'hello\n', { mode: 0o640 });
  linkSync(join(source, 'dir', 'plain'), join(source, 'dir', 'same'));
  symlinkSync('../elsewhere', join(source, 'dir', 'pointer'));
  utimesSync(join(source, 'dir', 'plain'), 1_600_000_000, 1_600_000_000.25);
});
after(() => rmSync(folder, { recursive: true, force: true }));

function gnuTar(args: string[], what = ['-C', source, '.']): Buffer {
  return execFileSync('tar', ['--sort=name', '-c', ...args, ...what], { maxBuffer: 1 << 28 });
}

for (const format of ['v7', 'oldgnu', 'gnu', 'ustar', 'pax']) {
  test(`reads what GNU tar writes as ${format}, in chunks of any size`, () => {
    const tar = gnuTar([`--format=${format}`]);
    const whole = readTar(tar);
    const byName = new Map(whole.map(({ member, content }) => [member.name as string, { member, content }]));
    assert.deepEqual([...byName.keys()], ['./', './dir/', './dir/plain', './dir/pointer', './dir/same']);
    const plain = byName.get('./dir/plain');
    assert.equal(plain?.content.toString(), 'hello\n');
    assert.equal(plain?.member.mode, 0o640);
    assert.equal(plain?.member.mtimeSec, 1_600_000_000);
    assert.equal(plain?.member.mtimeNsec, format === 'pax' ? 250_000_000 : 0);
    assert.equal(byName.get('./dir/same')?.member.type, 'link');
    assert.equal(byName.get('./dir/same')?.member.linkTarget, './dir/plain');
    assert.equal(byName.get('./dir/pointer')?.member.linkTarget, '../elsewhere');
    assert.equal(byName.get('./dir/')?.member.type, 'directory');
    for (const chunkBytes of [1, 511, 513, 4096]) assert.deepEqual(readTar(tar, { chunkBytes }), whole);
  });
}

for (const format of ['gnu', 'ustar', 'pax']) {
  test(`reads long and non-UTF-8 names of GNU tar's ${format}`, () => {
    const base = join(folder, `names-${format}`);
    const deep = format === 'ustar' ? join('d'.repeat(90), 'f'.repeat(90)) : join('d'.repeat(200), 'e'.repeat(200), 'f'.repeat(200));
    mkdirSync(join(base, deep, '..'), { recursive: true });
    writeFileSync(join(base, deep), 'x');
    writeFileSync(Buffer.concat([Buffer.from(`${base}/`), Buffer.from([0xff, 0xfe, 0x41])]), 'raw');
    if (format !== 'ustar') symlinkSync('t'.repeat(300), join(base, 'far'));
    const names = readTar(gnuTar([`--format=${format}`], ['-C', base, '.'])).map(({ member }) => member);
    assert.ok(names.some((member) => member.name === `./${deep}`));
    assert.ok(names.some((member) => member.name === './\xff\xfeA'));
    if (format !== 'ustar') assert.equal(names.find((member) => member.name === './far')?.linkTarget, 't'.repeat(300));
  });
}

for (const args of [
  ['--format=gnu'],
  ['--format=pax', '--sparse-version=0.0'],
  ['--format=pax', '--sparse-version=0.1'],
  ['--format=pax', '--sparse-version=1.0'],
]) {
  test(`reads sparse files of GNU tar ${args.join(' ')}`, () => {
    const base = mkdtempSync(join(folder, 'sparse-'));
    const fd = openSync(join(base, 'sparse'), 'w');
    // More extents than the four that fit into an old GNU header, and a hole at the end.
    for (let index = 0; index < 40; index++) writeSync(fd, `block ${index}`, index * 131_072);
    ftruncateSync(fd, 40 * 131_072 + 777);
    closeSync(fd);
    writeFileSync(join(base, 'zz-after'), 'after');
    const tar = gnuTar(['--sparse', ...args], ['-C', base, 'sparse', 'zz-after']);
    assert.ok(tar.length < 1_000_000, 'the holes are not in the archive');
    for (const chunkBytes of [tar.length, 700]) {
      const [sparse, after_] = readTar(tar, { chunkBytes });
      assert.equal(sparse?.member.name, 'sparse');
      assert.equal(sparse?.member.sparse, true);
      assert.equal(sparse?.member.size, 40 * 131_072 + 777);
      for (let index = 0; index < 40; index++) {
        assert.equal(sparse?.content.toString('latin1', index * 131_072, index * 131_072 + `block ${index}`.length), `block ${index}`);
      }
      assert.equal(after_?.content.toString(), 'after');
    }
  });
}

test('reads numbers beyond octal: base-256, negative times, owners above 21 bits', { skip: !isRoot && 'needs root' }, () => {
  const base = mkdtempSync(join(folder, 'numbers-'));
  writeFileSync(join(base, 'old'), '');
  for (const format of ['gnu', 'pax']) {
    const tar = gnuTar([`--format=${format}`, '--owner=:3000000000', '--group=:4000000', '--mtime=@-86400.5'], ['-C', base, 'old']);
    const [old] = readTar(tar);
    assert.equal(old?.member.uid, 3_000_000_000);
    assert.equal(old?.member.gid, 4_000_000);
    assert.equal(old?.member.mtimeSec, -86_401);
    assert.equal(old?.member.mtimeNsec, format === 'pax' ? 500_000_000 : 0);
  }
});

test('reads the xattrs of GNU tar', { skip: !isRoot && 'needs root' }, () => {
  const base = mkdtempSync(join(folder, 'xattr-'));
  writeFileSync(join(base, 'file'), '');
  execFileSync('python3', ['-c', `import os,sys; os.setxattr(sys.argv[1], 'trusted.raw', bytes([0,255,10,61]))`, join(base, 'file')]);
  const [file] = readTar(gnuTar(['--format=pax', '--xattrs', '--xattrs-include=*'], ['-C', base, 'file']));
  assert.deepEqual(file?.member.xattrs, [['trusted.raw', '\x00\xff\n=']]);
});

test('GNU tar reads what the writer writes', { skip: !isRoot && 'needs root' }, () => {
  const long = `${'d'.repeat(150)}/${'n'.repeat(150)}`;
  const tar = writeTar([
    { member: tarMember('./', { type: 'directory', mode: 0o755 }) },
    tarFile('plain', 'text', { mtimeNsec: 123_456_789, uid: 3_000_000, mode: 0o4755 }),
    { member: tarMember('link', { type: 'link', linkTarget: 'plain' as ByteString }) },
    { member: tarMember('sym', { type: 'symlink', linkTarget: 's'.repeat(200) as ByteString }) },
    { member: tarMember('null', { type: 'charDevice', major: 1, minor: 3 }) },
    { member: tarMember('pipe', { type: 'fifo' }) },
    { member: tarMember(`${long.slice(0, 150)}/`, { type: 'directory', mode: 0o755 }) },
    tarFile(long, 'deep'),
    tarFile('\xff\xfe', 'raw'),
    tarFile('x', '', { xattrs: [['user.k' as ByteString, '\0v\n' as ByteString]], mtimeSec: -1, mtimeNsec: 500_000_000 }),
  ]);
  const out = mkdtempSync(join(folder, 'out-'));
  execFileSync('tar', ['-x', '-C', out, '--numeric-owner'], { input: tar });
  const stat = (name: string, format: string) =>
    execFileSync('stat', ['-c', format, Buffer.concat([Buffer.from(`${out}/`), Buffer.from(name, 'latin1')]).toString('latin1')])
      .toString()
      .trim();
  assert.equal(stat('plain', '%a %u %h %y').slice(0, 44), '4755 3000000 2 2023-11-14 22:13:20.123456789');
  assert.equal(stat('null', '%F %t,%T'), 'character special file 1,3');
  assert.equal(stat('pipe', '%F'), 'fifo');
  assert.equal(stat('x', '%.Y'), '-0.500000000');
  assert.equal(
    execFileSync('readlink', [join(out, 'sym')])
      .toString()
      .trim(),
    's'.repeat(200),
  );
  assert.equal(execFileSync('cat', [join(out, long)]).toString(), 'deep');
  assert.ok(execFileSync('ls', ['-b', out]).toString().includes('\\377\\376'));
});

test('the same member is the same bytes: the format of layer digests does not drift', () => {
  const plain = encodeTarHeader(tarMember('etc/passwd', { size: 10 }));
  assert.equal(plain.length, 512);
  assert.equal(plain.toString('latin1', 257, 265), 'ustar\x0000');
  const fine = encodeTarHeader(tarMember('a', { mtimeNsec: 1, xattrs: [['user.b' as ByteString, 'v' as ByteString]] }));
  assert.equal(fine.length, 3 * 512);
  assert.equal(
    fine.toString('latin1', 512, 568).replace(/\0+$/, ''),
    '25 SCHILY.xattr.user.b=v\n30 mtime=1700000000.000000001\n'.slice(0, 56),
  );
});

test('where no end is asked for, the padding of the last member may be missing too', () => {
  const whole = writeTar([tarFile('a', '1'), tarFile('b', 'xyz')], { end: false });
  const unpadded = whole.subarray(0, whole.length - 509);
  assert.deepEqual(
    readTar(unpadded, { requireEnd: false }).map(({ content }) => content?.toString()),
    ['1', 'xyz'],
  );
  assert.throws(() => readTar(unpadded), { code: 'TAR_TRUNCATED' });
  assert.throws(() => readTar(unpadded.subarray(0, unpadded.length - 1), { requireEnd: false }), { code: 'TAR_TRUNCATED' });
});

const bad: [what: string, make: () => Buffer, why: RegExp][] = [
  ['an empty archive', () => Buffer.alloc(0), /the archive is empty/],
  ['text', () => Buffer.from('x'.repeat(2000)), /at byte 0: this is not a tar/],
  [
    'a wrong checksum',
    () => corrupt(writeTar([tarFile('a', '1'), tarFile('b', '2')]), 1024 + 5),
    /at byte 1024: the header checksum is wrong/,
  ],
  ['a missing end', () => writeTar([tarFile('a', '1')], { end: false }), /the end marker is missing/],
  [
    'a cut in the content',
    () => writeTar([tarFile('dir/a', 'x'.repeat(2000))]).subarray(0, 1500),
    /entry "dir\/a" at byte 0: the archive ends in the middle/,
  ],
  ['a cut in a header', () => writeTar([tarFile('a', '1')]).subarray(0, 300), /ends in the middle/],
  [
    'a lone zero block',
    () => Buffer.concat([writeTar([tarFile('a', '')], { end: false }), Buffer.alloc(512), writeTar([tarFile('b', '')])]),
    /lone zero block/,
  ],
  ['a negative size', () => withField(124, Buffer.from('ff'.repeat(12), 'hex')), /size is negative: -1/],
  [
    'a size beyond every file',
    () => withField(124, Buffer.from(`80${'00'.repeat(3)}7fffffffffffffff`, 'hex')),
    /size is not a number, or too large/,
  ],
  ['a huge size', () => withField(124, Buffer.from('8000000000000fffffffffff', 'hex')), /its size is \d+, at most/],
  ['a size that is no number', () => withField(124, Buffer.from('0000000009\0 ', 'latin1')), /size is not a number/],
  ['an unknown type', () => withField(156, Buffer.from('Q')), /its type "Q" is not known/],
  ['an empty name', () => withField(0, Buffer.alloc(100)), /name is empty/],
  ['a link without target', () => withField(156, Buffer.from('2')), /link without a target/],
  ['a huge extended header', () => withField(156, Buffer.from('x'), 2 ** 30), /extended header has 1073741824 bytes/],
  ['a broken PAX record', () => pax('99 path=abcd'), /PAX record's length/],
  ['a PAX record without end', () => pax('12 path=abcde'), /does not end with a newline/],
  ['a negative PAX size', () => pax('11 size=-5\n'), /size is negative: -5/],
  ['a PAX time that is none', () => pax('14 mtime=soon\n'), /not a time/],
  ['a global PAX path', () => pax('10 path=a\n', 'g'), /"path" in a global PAX header/],
  ['a sparse map outside its file', () => pax('21 GNU.sparse.size=5\n26 GNU.sparse.map=0,1,9,1\n'), /sparse map/],
  ['an unknown sparse version', () => pax('22 GNU.sparse.major=2\n22 GNU.sparse.minor=0\n'), /sparse format 2\.0/],
  [
    'an extended header and no member',
    () => Buffer.concat([pax('10 path=a\n').subarray(0, 1024), Buffer.alloc(1024)]),
    /ends after an extended header/,
  ],
];
for (const [what, make, why] of bad) {
  test(`refuses ${what}`, () => {
    assert.throws(
      () => readTar(make()),
      (error: Error) => why.test(error.message) && error.message.startsWith('test.tar: '),
    );
  });
}

function corrupt(tar: Buffer, at: number): Buffer {
  tar[at] = (tar[at] ?? 0) ^ 0xff;
  return tar;
}

/** One member whose header has these bytes at `at`, with a right checksum. */
function withField(at: number, bytes: Buffer, size = 0): Buffer {
  const header = encodeTarHeader(tarMember('entry', { size }));
  bytes.copy(header, at);
  return Buffer.concat([fixChecksum(header), Buffer.alloc(1024)]);
}

function pax(body: string, type = 'x'): Buffer {
  const header = encodeTarHeader(tarMember('pax', { size: body.length }));
  header.write(type, 156);
  const block = Buffer.alloc(512);
  block.write(body, 'latin1');
  return Buffer.concat([fixChecksum(header), block, writeTar([tarFile('after', '12345')])]);
}

function fixChecksum(header: Buffer): Buffer {
  header.fill(0x20, 148, 156);
  const sum = header.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}
