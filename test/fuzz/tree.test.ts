import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { Hex } from '../../src/oci/digest.ts';
import { type Entry, EntryType, type Root } from '../../src/store/model.ts';
import { ByteWriter } from '../../src/store/tree/byte-writer.ts';
import { decodeNode, decodeRoot, encodeNode, encodeRoot } from '../../src/store/tree/codec.ts';
import { sameContent, sameTime } from '../../src/store/tree/entries.ts';

/** Plain objects, as the decoder makes them. */
const plain = { noNullPrototype: true };
const bytes = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((array) => Buffer.from(array).toString('latin1') as ByteString);
const name = bytes(1, 40).filter((text) => !/[\0/]/.test(text) && text !== '.' && text !== '..');
const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array).toString('hex') as Hex);
const xattrs = fc
  .uniqueArray(
    fc.tuple(
      bytes(1, 20).filter((text) => !text.includes('\0')),
      bytes(0, 30),
    ),
    { selector: ([key]) => key, maxLength: 3 },
  )
  .map((list) => (list.length === 0 ? undefined : list.sort(([a], [b]) => (a < b ? -1 : 1))));
const meta = {
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xffff_fffe }),
  gid: fc.integer({ min: 0, max: 0xffff_fffe }),
  mtimeSec: fc.integer({ min: -(2 ** 47), max: 2 ** 47 }),
  mtimeNsec: fc.integer({ min: 0, max: 999_999_999 }),
  xattrs,
};
const device = fc.integer({ min: 1, max: 0xffff_ffff });
const entry: fc.Arbitrary<Entry> = fc.oneof(
  fc.record({ type: fc.constant(EntryType.file), name, ...meta, size: fc.maxSafeNat(), object: hex }, plain),
  fc.record({ type: fc.constant(EntryType.directory), name, ...meta, full: hex, content: hex }, plain),
  fc.record({ type: fc.constant(EntryType.symlink), name, ...meta, target: bytes(1, 60).filter((text) => !text.includes('\0')) }, plain),
  fc.record({ type: fc.constantFrom(EntryType.charDevice, EntryType.blockDevice), name, ...meta, major: device, minor: device }, plain),
  fc.record({ type: fc.constant(EntryType.fifo), name, ...meta }, plain),
);
const entries = fc.uniqueArray(entry, { selector: (one) => one.name, maxLength: 12 });
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/') as ByteString);
const root: fc.Arbitrary<Root> = fc
  .record({ ...meta, full: hex, content: hex, paths: fc.uniqueArray(path, { maxLength: 8 }) }, plain)
  .map(({ paths, ...rest }) => {
    const sorted = [...paths].sort();
    const groups = [sorted.slice(0, 3), sorted.slice(3, 6)].filter((group) => group.length > 1);
    return { ...rest, hardlinks: groups };
  });

const encoded = (list: readonly Entry[]) => {
  const writer = new ByteWriter(16);
  const node = encodeNode(writer, list);
  return { ...node, bytes: Buffer.from(writer.view()) };
};
const byName = (list: readonly Entry[]) => [...list].sort((a, b) => (a.name < b.name ? -1 : 1));

test('a node reads back as it was written, whatever the order it was given in', () => {
  fc.assert(
    fc.property(entries, (list) => {
      const { bytes, full } = encoded(list);
      assert.deepEqual(decodeNode(bytes), byName(list));
      assert.equal(encoded([...list].reverse()).full, full);
    }),
    { numRuns: 300 },
  );
});

test('the content digest ignores times and nothing else', () => {
  fc.assert(
    fc.property(entries, fc.integer({ min: 0, max: 999_999_999 }), (list, mtimeNsec) => {
      const retimed = list.map((one) => ({ ...one, mtimeNsec }));
      assert.equal(encoded(retimed).content, encoded(list).content);
      assert.equal(
        encoded(retimed).full === encoded(list).full,
        list.every((one) => sameTime(one, { ...one, mtimeNsec })),
      );
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(entry, entry, (a, b) => {
      const renamed = { ...b, name: a.name };
      assert.equal(encoded([a]).content === encoded([renamed]).content, sameContent(a, renamed));
    }),
    { numRuns: 300 },
  );
});

test('a root record reads back as it was written', () => {
  fc.assert(
    fc.property(root, (one) => {
      const writer = new ByteWriter(16);
      encodeRoot(writer, one);
      assert.deepEqual(decodeRoot(writer.view()), one);
    }),
    { numRuns: 300 },
  );
});

/** Cuts, overwrites and repeats bytes. */
const damage = fc.array(fc.tuple(fc.nat(400), fc.nat(255), fc.constantFrom('set', 'cut', 'insert')), { minLength: 1, maxLength: 4 });
function damaged(bytes: Buffer, steps: [number, number, string][]): Buffer {
  let result = Buffer.from(bytes);
  for (const [position, value, what] of steps) {
    const at = position % Math.max(1, result.length);
    if (what === 'cut') result = result.subarray(0, at);
    else if (what === 'insert') result = Buffer.concat([result.subarray(0, at), Buffer.of(value), result.subarray(at)]);
    else if (result.length > 0) result[at] = value;
  }
  return result;
}

/** Bytes that are accepted must be the only form of what they mean; all others are refused by name. */
function acceptsOnlyItsOwn(bytes: Buffer, roundTrip: (bytes: Buffer) => Buffer): void {
  let again: Buffer;
  try {
    again = roundTrip(bytes);
  } catch (error) {
    assert.ok(error instanceof EngineError && error.code === 'TREE_DAMAGED', String(error));
    return;
  }
  assert.deepEqual(again, bytes);
}
const nodeRoundTrip = (bytes: Buffer) => encoded(decodeNode(bytes)).bytes;
const rootRoundTrip = (bytes: Buffer) => {
  const writer = new ByteWriter(16);
  encodeRoot(writer, decodeRoot(bytes));
  return Buffer.from(writer.view());
};

test('the node decoder refuses damage or reads the one form that there is', () => {
  fc.assert(
    fc.property(entries, damage, (list, steps) => acceptsOnlyItsOwn(damaged(encoded(list).bytes, steps), nodeRoundTrip)),
    { numRuns: 1500 },
  );
});

test('the root decoder refuses damage or reads the one form that there is', () => {
  fc.assert(
    fc.property(root, damage, (one, steps) => {
      const writer = new ByteWriter(16);
      encodeRoot(writer, one);
      acceptsOnlyItsOwn(damaged(Buffer.from(writer.view()), steps), rootRoundTrip);
    }),
    { numRuns: 1500 },
  );
});

test('the decoders survive bytes that mean nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      const heads = ['', 'SN\x01SC\x01', 'SR\x01SD\x01'];
      for (const head of heads) {
        const bytes = Buffer.concat([Buffer.from(head, 'latin1'), noise]);
        acceptsOnlyItsOwn(bytes, nodeRoundTrip);
        acceptsOnlyItsOwn(bytes, rootRoundTrip);
      }
    }),
    { numRuns: 1000 },
  );
});
