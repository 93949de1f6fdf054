import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { TarMember } from '../../src/oci/tar/member.ts';
import { readTar, writeTar } from '../contracts/tar.ts';

const latin1 = (minimum: number, maximum: number) =>
  fc
    .array(fc.integer({ min: 1, max: 255 }), { minLength: minimum, maxLength: maximum })
    .map((bytes) => Buffer.from(bytes).toString('latin1') as ByteString);
const anyBytes = (maximum: number) =>
  fc.uint8Array({ maxLength: maximum }).map((bytes) => Buffer.from(bytes).toString('latin1') as ByteString);
const ascii = (maximum: number) => fc.stringMatching(new RegExp(`^[a-z/.]{1,${maximum}}$`)).map((text) => text as ByteString);
const name = fc.oneof(latin1(1, 40), latin1(90, 300), ascii(300)).map((text) => (text.replace(/\/+$/, '') || 'x') as ByteString);
const xattrs = fc
  .uniqueArray(
    fc.tuple(
      latin1(1, 30).map((text) => text.replaceAll('%', '_') as ByteString),
      anyBytes(100),
    ),
    { maxLength: 3, selector: ([key]) => key },
  )
  .map((list) => list.sort(([a], [b]) => (a < b ? -1 : 1)));
const number = fc.oneof(fc.nat(), fc.integer({ min: 0, max: 2 ** 32 }), fc.constantFrom(0o7777777, 0o10000000));

const member: fc.Arbitrary<{ member: TarMember; content: Uint8Array }> = fc
  .record({
    type: fc.constantFrom('file', 'directory', 'symlink', 'link', 'charDevice', 'blockDevice', 'fifo'),
    name,
    target: name,
    content: fc.uint8Array({ maxLength: 1500 }),
    mode: fc.nat(0o7777),
    uid: number,
    gid: number,
    mtimeSec: fc.oneof(fc.integer(), fc.maxSafeInteger()),
    mtimeNsec: fc.oneof(fc.constant(0), fc.nat(999_999_999)),
    major: number,
    minor: number,
    xattrs,
  })
  .map(({ content, target, type, ...rest }) => {
    const isDevice = type === 'charDevice' || type === 'blockDevice';
    const stored = type === 'file' ? content : new Uint8Array();
    return {
      content: stored,
      member: {
        ...rest,
        type,
        name: (type === 'directory' ? `${rest.name}/` : rest.name) as ByteString,
        linkTarget: (type === 'link' || type === 'symlink' ? target : '') as ByteString,
        size: stored.length,
        mtimeSec: rest.mtimeSec,
        major: isDevice ? rest.major : 0,
        minor: isDevice ? rest.minor : 0,
      } as TarMember,
    };
  });

test('what is written reads back the same, pushed in chunks of any size', () => {
  fc.assert(
    fc.property(fc.array(member, { maxLength: 6 }), fc.integer({ min: 1, max: 3000 }), (members, chunkBytes) => {
      const read = readTar(writeTar(members), { chunkBytes });
      assert.equal(read.length, members.length);
      for (const [index, { member, content }] of members.entries()) {
        const { offset: _offset, dataOffset: _dataOffset, sparse, ...back } = read[index]?.member ?? assert.fail('a member is missing');
        assert.deepEqual({ ...back }, { ...member });
        assert.equal(sparse, false);
        assert.ok(read[index]?.content.equals(Buffer.from(content)));
      }
    }),
    { numRuns: 400 },
  );
});

/** Reads what may be anything: either it reads, or it is one clear error. */
function readOrRefuse(tar: Uint8Array, chunkBytes: number): void {
  try {
    readTar(tar, { chunkBytes: Math.max(1, chunkBytes) });
  } catch (error) {
    assert.ok(error instanceof EngineError && error.code.startsWith('TAR_'), String(error instanceof Error ? error.stack : error));
    assert.match(error.message, /^test\.tar: .*at byte \d+: /s);
  }
}

test('any cut and any changed byte is read or refused, never a crash', () => {
  fc.assert(
    fc.property(
      fc.array(member, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.nat(),
      fc.nat(255),
      fc.nat(2000),
      (members, cut, at, byte, chunk) => {
        const tar = writeTar(members);
        tar[at % tar.length] = byte;
        readOrRefuse(tar, chunk);
        readOrRefuse(tar.subarray(0, cut % tar.length), chunk);
      },
    ),
    { numRuns: 400 },
  );
});

test('any header with a right checksum is read or refused, never a crash', () => {
  const noise = fc.array(fc.tuple(fc.nat(511), fc.constantFrom(0, 0x20, 0x2f, 0x30, 0x35, 0x37, 0x80, 0xff, 0x53, 0x78, 0x67, 0x4c)), {
    minLength: 1,
    maxLength: 8,
  });
  const text = fc.oneof(
    fc.constantFrom(
      'GNU.sparse.major=1',
      'GNU.sparse.minor=0',
      'GNU.sparse.realsize=9',
      'GNU.sparse.size=9',
      'GNU.sparse.map=0,3,6,1',
      'size=3',
      'mtime=-1.5',
      'path=',
      'uid=-1',
    ),
    fc.string(),
  );
  fc.assert(
    fc.property(member, noise, fc.array(text, { maxLength: 4 }), fc.nat(1200), ({ member, content }, changes, records, chunk) => {
      const body = records.map((record) => `${record.length + 3 + (record.length > 6 ? 1 : 0)} ${record}\n`).join('');
      const extension = writeTar(
        [
          {
            member: {
              ...member,
              type: 'file',
              name: 'x' as ByteString,
              size: Buffer.byteLength(body),
              xattrs: [],
              mtimeSec: 0,
              mtimeNsec: 0,
              uid: 0,
              gid: 0,
              linkTarget: '' as ByteString,
            },
            content: Buffer.from(body),
          },
        ],
        { end: false },
      );
      extension[156] = 0x78;
      const tar = writeTar([{ member, content }]);
      for (const [at, byte] of changes) tar[at] = byte;
      readOrRefuse(Buffer.concat([fixChecksum(extension), fixChecksum(tar)]), chunk);
    }),
    { numRuns: 600 },
  );
});

function fixChecksum(tar: Buffer): Buffer {
  tar.fill(0x20, 148, 156);
  const sum = tar.subarray(0, 512).reduce((total, value) => total + value, 0);
  tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return tar;
}
