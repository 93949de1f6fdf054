import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { digestOf, type Hex, sha256 } from '../../src/oci/digest.ts';
import { type Entry, EntryType, type TreeId } from '../../src/store/model.ts';
import { ByteWriter } from '../../src/store/tree/byte-writer.ts';
import { encodeNode } from '../../src/store/tree/codec.ts';
import { DeltaSources, markOf } from '../../src/transport/chunked/delta-sources.ts';
import { decodeHead, encodeHead, type Head } from '../../src/transport/chunked/head.ts';
import { readManifest } from '../../src/transport/chunked/manifest.ts';
import { choosePacks } from '../../src/transport/chunked/packs.ts';
import { joinRanges } from '../../src/transport/chunked/remote.ts';
import { decodeStream } from '../../src/transport/chunked/stream/decode.ts';
import { chunksOf, endMark, maxChunkBytes, readRecords, writeRecord } from '../../src/transport/chunked/stream/records.ts';
import { cutStream, DirectoryTable } from '../../src/transport/chunked/stream/tree-stream.ts';
import type { Chunk, ChunkId } from '../../src/transport/frames/model.ts';

const bytes = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((array) => Buffer.from(array).toString('latin1') as ByteString);
const name = bytes(1, 12).filter((text) => !/[\0/]/.test(text) && text !== '.' && text !== '..');
const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((array) => Buffer.from(array).toString('hex') as Hex);
const chunkId = hex.map((digest) => digest.slice(0, 32) as ChunkId);
const meta = {
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xffff_fffe }),
  gid: fc.integer({ min: 0, max: 0xffff_fffe }),
  mtimeSec: fc.integer({ min: -(2 ** 47), max: 2 ** 47 }),
  mtimeNsec: fc.integer({ min: 0, max: 999_999_999 }),
  xattrs: fc.constantFrom(undefined, [['user.a', 'b']] as [ByteString, ByteString][]),
};
const chunk = fc.record({ id: chunkId, length: fc.integer({ min: 1, max: maxChunkBytes }) });

/** A tree as nested entries; a directory's digests come from below. */
type Node = { entry: Entry; chunks?: Chunk[]; below?: Node[] };
const leaf: fc.Arbitrary<Node> = fc.oneof(
  fc
    .record({ ...meta, name, object: hex, size: fc.integer({ min: 0, max: maxChunkBytes }) })
    .map((file) => ({ entry: { type: EntryType.file, ...file } })),
  fc.record({ ...meta, name, object: hex, chunks: fc.array(chunk, { minLength: 2, maxLength: 5 }) }).map(({ chunks, ...file }) => ({
    entry: { type: EntryType.file, ...file, size: chunks.reduce((sum, { length }) => sum + length, 0) },
    chunks,
  })),
  fc
    .record({ ...meta, name, target: bytes(1, 30).filter((text) => !text.includes('\0')) })
    .map((link) => ({ entry: { type: EntryType.symlink, ...link } })),
  fc
    .record({ ...meta, name, major: fc.integer({ min: 1, max: 300 }), minor: fc.nat(300) })
    .map((device) => ({ entry: { type: EntryType.charDevice, ...device } })),
  fc.record({ ...meta, name }).map((fifo) => ({ entry: { type: EntryType.fifo, ...fifo } })),
);
const sorted = (nodes: Node[]) =>
  [...new Map(nodes.map((node) => [node.entry.name, node])).values()].sort((a, b) => (a.entry.name < b.entry.name ? -1 : 1));
const { nodes } = fc.letrec<{ nodes: Node[]; node: Node }>((tie) => ({
  nodes: fc.array(tie('node'), { maxLength: 6 }).map(sorted),
  node: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.record({ ...meta, name, below: tie('nodes') }).map(({ below, ...directory }) => ({
      entry: { type: EntryType.directory, ...directory, full: '' as Hex, content: '' as Hex },
      below: below as Node[],
    })),
  ),
}));

function write(writer: ByteWriter, list: readonly Node[]): void {
  for (const { entry, chunks, below } of list) {
    writeRecord(writer, entry, chunks);
    if (below === undefined) continue;
    write(writer, below);
    writer.u8(endMark);
  }
}
const streamOf = (list: readonly Node[]) => {
  const writer = new ByteWriter(64);
  write(writer, list);
  return Buffer.from(writer.view());
};
const putNode = (entries: readonly Entry[]) => {
  const { full, content } = encodeNode(new ByteWriter(256), entries);
  return { full, content };
};
/** The digest of the root directory, bottom up, without a stream. */
function digestOfNodes(list: readonly Node[]): Hex {
  return putNode(
    list.map(({ entry, below }) => {
      if (below === undefined || entry.type !== EntryType.directory) return entry;
      return { ...entry, full: digestOfNodes(below), content: contentOfNodes(below) };
    }),
  ).full;
}
function contentOfNodes(list: readonly Node[]): Hex {
  return putNode(
    list.map(({ entry, below }) => {
      if (below === undefined || entry.type !== EntryType.directory) return entry;
      return { ...entry, full: digestOfNodes(below), content: contentOfNodes(below) };
    }),
  ).content;
}

const damage = fc.array(fc.tuple(fc.nat(600), fc.nat(255), fc.constantFrom('set', 'cut', 'insert')), { minLength: 1, maxLength: 4 });
function damaged(whole: Buffer, steps: [number, number, string][]): Buffer {
  let result = Buffer.from(whole);
  for (const [position, value, what] of steps) {
    const at = position % Math.max(1, result.length);
    if (what === 'cut') result = result.subarray(0, at);
    else if (what === 'insert') result = Buffer.concat([result.subarray(0, at), Buffer.of(value), result.subarray(at)]);
    else if (result.length > 0) result[at] = value;
  }
  return result;
}

function refused(error: unknown): true {
  assert.ok(error instanceof EngineError && (error.code === 'CHUNKED_INVALID' || error.code === 'CHUNKED_VERSION'), String(error));
  return true;
}

/** What is accepted of untrusted bytes, told again. */
function again(stream: Buffer): Buffer {
  const writer = new ByteWriter(64);
  const ends = new Set<number>();
  const { directories } = decodeStream(stream, { what: 'a stream', putNode });
  for (let row = 0; row < directories.count; row++) ends.add(directories.at(row).end);
  for (const record of readRecords(stream)) {
    const chunks = chunksOf(record, stream);
    writeRecord(writer, record.entry, record.chunksAt === 0 ? undefined : chunks);
    while (stream[writer.length] === endMark && ends.has(writer.length + 1) && writer.length < stream.length) writer.u8(endMark);
  }
  return Buffer.from(writer.view());
}

test('a stream leads to the digests of its directories', () => {
  fc.assert(
    fc.property(nodes, (list) => {
      const stream = streamOf(list);
      const decoded = decodeStream(stream, { what: 'a stream', putNode });
      assert.equal(decoded.full, digestOfNodes(list));
      assert.equal(decoded.content, contentOfNodes(list));
      assert.deepEqual(again(stream), stream);
    }),
    { numRuns: 300 },
  );
});

test('the decoder of streams refuses damage, or reads what can only be written so', () => {
  fc.assert(
    fc.property(nodes, damage, (list, steps) => {
      const stream = damaged(streamOf(list), steps);
      try {
        assert.deepEqual(again(stream), stream);
      } catch (error) {
        refused(error);
      }
    }),
    { numRuns: 1500 },
  );
});

test('noise is refused as a stream', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      const stream = Buffer.from(noise);
      try {
        assert.deepEqual(again(stream), stream);
      } catch (error) {
        refused(error);
      }
    }),
    { numRuns: 1000 },
  );
});

test('what claims terabytes, too deep directories and names that leave their directory are refused', () => {
  const record = (entry: object, chunks?: Chunk[]) => {
    const writer = new ByteWriter(64);
    const base = { mode: 0, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, name: 'a' as ByteString };
    writeRecord(writer, { ...base, ...entry } as Entry, chunks);
    return Buffer.from(writer.view());
  };
  const object = sha256('x');
  const decode = (stream: Buffer) => () => decodeStream(stream, { what: 'a stream', putNode });
  assert.throws(decode(record({ type: EntryType.file, size: 2 ** 45, object })), refused);
  const lying = [{ id: object.slice(0, 32) as ChunkId, length: 10 }];
  assert.throws(decode(record({ type: EntryType.file, size: 2 ** 45, object }, [...lying, ...lying])), refused);
  const deep = Buffer.concat(Array.from({ length: 5000 }, () => record({ type: EntryType.directory, full: object, content: object })));
  assert.throws(decode(deep), refused);
  for (const bad of ['..', '.', 'a/b']) {
    const good = record({ type: EntryType.fifo, name: 'x'.repeat(bad.length) });
    assert.throws(decode(Buffer.from(good.toString('latin1').replace(/x+/, bad), 'latin1')), refused);
  }
  const list = record({ type: EntryType.file, size: 20, object }, [...lying, ...lying]);
  // A count of chunks that needs more bytes than there are.
  const at = list.indexOf(Buffer.from(object, 'hex')) + 32;
  assert.throws(decode(Buffer.concat([list.subarray(0, at), Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7f]), list.subarray(at + 1)])), refused);
});

const blobs = Array.from({ length: 8 }, () => ({ size: 1_000_000 }));
const place = fc.nat(blobs.length - 1);
const headTree = (chunks: number) =>
  fc.record({
    id: hex as fc.Arbitrary<Hex & TreeId>,
    meta: fc.record(meta),
    hardlinks: fc.array(fc.uniqueArray(name, { minLength: 2, maxLength: 3 }), { maxLength: 2 }),
    stream: fc.array(fc.nat(Math.max(0, chunks - 1)), { maxLength: chunks === 0 ? 0 : 12 }),
  });
const frameAt = { at: fc.nat(500_000), compressed: fc.integer({ min: 1, max: 70_000 }) };
const span = fc.record({ offset: fc.nat(1_000_000), length: fc.integer({ min: 1, max: 1_000_000 }) });
const filePart = fc.record({ record: fc.nat(1_000_000), offset: fc.nat(1_000_000), length: fc.integer({ min: 1, max: 1_000_000 }) });
const head: fc.Arbitrary<Head> = fc.uniqueArray(chunkId, { maxLength: 10 }).chain((ids) =>
  fc.record({
    streamPacks: fc.array(place, { minLength: 1, maxLength: 3 }),
    chunks: fc.tuple(
      ...ids.map((id) =>
        fc.record({
          id: fc.constant(id),
          pack: fc.constant(0),
          offset: fc.nat(500_000),
          compressed: fc.integer({ min: 1, max: 70_000 }),
          length: fc.integer({ min: 1, max: 65_536 }),
        }),
      ),
    ),
    tree: headTree(ids.length),
    layers: fc.array(
      fc.record({ blob: place, diffId: hex.map(digestOf), tree: headTree(ids.length), implied: fc.array(name, { maxLength: 2 }) }),
      { maxLength: 3 },
    ),
    packs: fc.array(fc.record({ blob: place, table: fc.option(place, { nil: undefined }) }), { maxLength: 3 }),
    deltas: fc.array(
      fc.record({
        blob: place,
        base: hex as fc.Arbitrary<Hex & TreeId>,
        mark: chunkId,
        stream: fc.array(
          fc.record({
            ...frameAt,
            chunks: fc.array(fc.nat(Math.max(0, ids.length - 1)), { maxLength: ids.length && 8 }),
            base: fc.array(span, { maxLength: 3 }),
          }),
          { maxLength: 3 },
        ),
        files: fc.array(
          fc.record({ ...frameAt, target: fc.array(filePart, { maxLength: 4 }), base: fc.array(filePart, { maxLength: 4 }) }),
          { maxLength: 3 },
        ),
      }),
      { maxLength: 2 },
    ),
  }),
);

test('a head reads back as it was written', () => {
  fc.assert(
    fc.property(head, (one) =>
      assert.deepEqual(JSON.parse(JSON.stringify(decodeHead(encodeHead(one), blobs))), JSON.parse(JSON.stringify(one))),
    ),
    { numRuns: 200 },
  );
});

test('a damaged head is refused, or points at nothing outside of its blobs', () => {
  fc.assert(
    fc.property(head, damage, (one, steps) => {
      const plain = damaged(zstdDecompressSync(encodeHead(one)), steps);
      let read: Head;
      try {
        read = decodeHead(zstdCompressSync(plain), blobs);
      } catch (error) {
        refused(error);
        return;
      }
      for (const { pack, offset, compressed } of read.chunks) {
        const size = blobs[read.streamPacks[pack] ?? -1]?.size ?? -1;
        assert.ok(offset >= 0 && offset + compressed <= size);
      }
      for (const { stream } of [read.tree, ...read.layers.map(({ tree }) => tree)])
        for (const index of stream) assert.ok(read.chunks[index]);
      for (const { blob, table } of read.packs) assert.ok(blobs[blob] && (table === undefined || blobs[table]));
      for (const { blob, stream, files } of read.deltas) {
        for (const { at, compressed } of [...stream, ...files]) assert.ok(at >= 0 && at + compressed <= (blobs[blob]?.size ?? -1));
        for (const { chunks } of stream) for (const index of chunks) assert.ok(read.chunks[index]);
      }
    }),
    { numRuns: 800 },
  );
});

test('wherever a delta says that its files are, nothing outside of them is taken', () => {
  const part = fc.record({ record: fc.nat(400), offset: fc.nat(20), length: fc.integer({ min: 1, max: 50 }) });
  fc.assert(
    fc.property(nodes, fc.array(part, { minLength: 1, maxLength: 3 }), fc.array(part, { maxLength: 3 }), (list, target, base) => {
      const bytes = streamOf(list);
      const sizes = new Map(
        [...readRecords(bytes)].flatMap(({ entry }) => (entry.type === EntryType.file ? [[entry.object, entry.size]] : [])),
      );
      const stream = { tree: 'a' as Hex as TreeId, bytes, chunks: cutStream(bytes), directories: new DirectoryTable() };
      const delta = { blob: 0, base: stream.tree, mark: markOf(stream), stream: [], files: [{ at: 0, compressed: 1, target, base }] };
      const missing = new Map(
        [...sizes].map(([object, size]) => [
          object,
          { object, size, name: 'x' as ByteString, chunks: [{ id: object.slice(0, 32) as ChunkId, length: size }] },
        ]),
      );
      const sources = new DeltaSources(
        blobs.map((blob) => ({ ...blob, digest: digestOf(sha256('')), mediaType: '' })),
        'an image',
      );
      try {
        sources.add(delta, stream, bytes, missing, () => false);
      } catch (error) {
        refused(error);
        return;
      }
      for (const object of sizes.keys()) {
        for (let offset = 0; offset <= 20; offset++) {
          const found = sources.partAt(object, offset);
          if (found === undefined) continue;
          assert.ok(found.offset + found.length <= (sizes.get(object) ?? -1) && found.within + found.length <= found.frame.length);
          for (const used of found.frame.base) assert.ok(used.offset + used.length <= (sizes.get(used.object) ?? -1));
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('noise is refused as a head and as a manifest', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.json(), (noise, json) => {
      for (const candidate of [
        Buffer.from(noise),
        zstdCompressSync(noise),
        zstdCompressSync(Buffer.concat([Buffer.from('SWH\x02'), noise])),
      ]) {
        assert.throws(() => decodeHead(candidate, blobs), refused);
      }
      const descriptor = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(sha256('')), size: 0 };
      for (const document of [Buffer.from(noise), Buffer.from(json)])
        assert.throws(() => readManifest({ bytes: document, descriptor }, 'a manifest'), refused);
    }),
    { numRuns: 300 },
  );
});

test('a stream is cut into all of its bytes, and a change moves only the cuts beside it', () => {
  fc.assert(
    fc.property(fc.nat(150_000), fc.nat(1000), (at, seed) => {
      const stream = Buffer.alloc(200_000);
      for (let i = 0, state = seed + 1; i < stream.length; i++) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        stream[i] = state >>> 16;
      }
      const chunks = cutStream(stream);
      let end = 0;
      for (const { offset, length } of chunks) {
        assert.equal(offset, end);
        end += length;
      }
      assert.equal(end, stream.length);
      const changed = Buffer.concat([stream.subarray(0, at), Buffer.from('!'), stream.subarray(at)]);
      const before = new Set(chunks.map(({ id }) => id));
      const fresh = cutStream(changed).filter(({ id }) => !before.has(id));
      assert.ok(fresh.length <= 4, `${fresh.length} chunks are new`);
    }),
    { numRuns: 30 },
  );
});

test('ranges are joined without overlap and cover what was asked', () => {
  const range = fc.record({ offset: fc.nat(1000), length: fc.integer({ min: 1, max: 100 }) });
  fc.assert(
    fc.property(fc.array(range), fc.integer({ min: 1, max: 200 }), (ranges, most) => {
      const joined = joinRanges(ranges, most);
      let end = -1;
      for (const { offset, length } of joined) {
        assert.ok(offset >= end && length > 0);
        end = offset + length;
      }
      const covered = (at: number) => joined.some(({ offset, length }) => at >= offset && at < offset + length);
      const asked = (at: number) => ranges.some(({ offset, length }) => at >= offset && at < offset + length);
      for (let at = 0; at < 1100; at += 7) assert.equal(covered(at), asked(at));
    }),
    { numRuns: 200 },
  );
});

test('whatever the packs, those that are kept are few and mostly live', () => {
  const pack = fc.record({ size: fc.integer({ min: 1, max: 1_000_000 }), share: fc.double({ min: 0, max: 1, noNaN: true }) });
  fc.assert(
    fc.property(fc.array(pack, { maxLength: 120 }), (list) => {
      const packs = list.map(({ size, share }) => ({ blob: { size }, liveBytes: Math.floor(size * share) }));
      const kept = choosePacks(packs);
      const live = packs.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
      const repacked = packs.filter((one) => !kept.includes(one)).reduce((sum, { liveBytes }) => sum + liveBytes, 0);
      assert.ok(kept.length < 64);
      assert.ok(kept.reduce((sum, { blob }) => sum + blob.size, 0) + repacked <= 1.5 * live + 1);
    }),
    { numRuns: 300 },
  );
});
