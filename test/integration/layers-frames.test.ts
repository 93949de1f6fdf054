import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { type Digest, hexOf, sha256 } from '../../src/oci/digest.ts';
import { EntryType, type TreeId } from '../../src/store/model.ts';
import type { Store, TreeContext } from '../../src/store/port.ts';
import { FrameCache } from '../../src/transport/frames/cache.ts';
import { chunkOf, cutChunks } from '../../src/transport/frames/chunker.ts';
import { makeFrames } from '../../src/transport/frames/job.ts';
import type { ChunkId, FrameTable, MadeFrames } from '../../src/transport/frames/model.ts';
import { decodeFrameTable } from '../../src/transport/frames/table.ts';
import { tarToFile } from '../../src/transport/tar/job.ts';
import { untar } from '../../src/transport/untar/job.ts';
import { openStoreForTest } from '../support/store.ts';
import { jobContext } from './archives-support.ts';
import { putSpec, random, randomSpec } from './layers-trees.ts';

const readers = { gzip: gunzipSync, zstd: zstdDecompressSync, none: (bytes: Buffer) => bytes };

function blob(context: Pick<TreeContext, 'paths'>, digest: Digest): Buffer {
  return readFileSync(join(context.paths.blobs, 'sha256', hexOf(digest)));
}

const texts = new Map<number, Buffer>();

/** Text that compresses a little and repeats nowhere, the same in every run. */
function words(length: number, seed: number): Buffer {
  const known = texts.get(seed);
  if (known !== undefined && known.length >= length) return known.subarray(0, length);
  const pick = random(seed);
  const parts: string[] = [];
  for (let have = 0; have < length; ) {
    const word = `${pick(1 << 30).toString(36)} ${pick(50)}\n`;
    parts.push(word);
    have += word.length;
  }
  const text = Buffer.from(parts.join(''));
  texts.set(seed, text);
  return text.subarray(0, length);
}

/** 400 files of all sizes: `changed` is a part of one of them. */
function application(context: TreeContext, changed = 'as it was'): TreeId {
  const entries = Array.from({ length: 400 }, (_, index) => {
    const name = `file-${String(index).padStart(3, '0')}`;
    const content = index === 200 ? Buffer.from(changed) : words((index * 7919) % (index % 20 === 0 ? 700_000 : 30_000), index);
    return { type: EntryType.file, name, mode: 0o644, uid: 0, gid: 0, mtimeSec: 1, mtimeNsec: 0, ...context.putBytes(content) } as never;
  });
  return context.putRoot({ mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, ...context.putNode(entries), hardlinks: [] }).id;
}

/** Each frame by itself, as one who fetches ranges reads it; checks that they are all of the blob. */
function readFrames(bytes: Buffer, table: FrameTable): Buffer[] {
  let at = 0;
  const frames = table.frames.map(({ compressed, plain }) => {
    const frame = readers[table.compression](bytes.subarray(at, at + compressed));
    assert.equal(frame.length, plain);
    at += compressed;
    return frame;
  });
  assert.equal(at, bytes.length);
  return frames;
}

/** Where members of 128 KiB or more lie in a tar of plain files. */
function largeFiles(tar: Buffer): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = [];
  for (let at = 0; tar[at] !== 0 && at < tar.length; ) {
    const size = Number.parseInt(tar.toString('latin1', at + 124, at + 135), 8);
    const end = at + 512 + Math.ceil(size / 512) * 512;
    if (size >= 128 * 1024) found.push({ start: at, end });
    at = end;
  }
  return found;
}

test('a layer is a sound stream of frames, and its table leads to every chunk', async () => {
  using job = jobContext();
  const tree = application(job.context);
  for (const compression of ['gzip', 'zstd', 'none'] as const) {
    const made = await makeFrames(job.context, { items: { kind: 'layer', tree }, compression });
    const bytes = blob(job.context, made.digest);
    const table = decodeFrameTable(blob(job.context, made.table.digest));
    const frames = readFrames(bytes, table);
    const plain = Buffer.concat(frames);
    assert.ok(readers[compression](bytes).equals(plain), 'one stream for whoever knows nothing of frames');
    assert.deepEqual(
      {
        digest: hexOf(made.digest),
        diffId: hexOf(made.diffId),
        sizeBytes: made.sizeBytes,
        plainBytes: made.plainBytes,
        table: made.table.sizeBytes,
      },
      {
        digest: sha256(bytes),
        diffId: sha256(plain),
        sizeBytes: bytes.length,
        plainBytes: plain.length,
        table: blob(job.context, made.table.digest).length,
      },
    );
    assert.ok(frames.length > 10);
    for (const frame of frames) assert.ok(frame.length <= 512 * 1024, `${frame.length}`);
    const large = largeFiles(plain);
    assert.ok(large.length > 10);
    const ends = new Set([0]);
    let last = 0;
    for (const frame of frames) {
      last += frame.length;
      ends.add(last);
    }
    for (const { start, end } of large) assert.ok(ends.has(start) && ends.has(end), 'a large file has frames of its own');
    assert.ok(frames.filter((frame) => frame.length < 128 * 1024).length <= 2 * large.length + 1);
    for (const { id, frame, offset, length } of table.chunks) {
      assert.equal(chunkOf(frames[frame]?.subarray(offset, offset + length) ?? Buffer.alloc(0)).id, id);
    }
    // Every file can be put together from chunks.
    const known = new Map(table.chunks.map(({ id, length }) => [id, length]));
    for (const entry of job.context.node(job.context.root(tree).full)) {
      if (entry.type !== EntryType.file || entry.size === 0) continue;
      for (const chunk of cutChunks([readFileSync(job.context.objectPath(entry.object))]))
        assert.equal(known.get(chunkOf(chunk).id), chunk.length);
    }
    // The tar in it is the one that save writes.
    const tar = await tarToFile(job.context, { tree, output: join(job.folder, `${compression}.tar`), compression: 'none', kind: 'layer' });
    assert.equal(made.diffId, tar.diffId);
  }
});

test('the tar, zstd and gzip of the host read it, and it is the tree again', async () => {
  using job = jobContext();
  const tree = putSpec(job.context, randomSpec(random(3)));
  for (const compression of ['gzip', 'zstd', 'none'] as const) {
    const made = await makeFrames(job.context, { items: { kind: 'layer', tree }, compression });
    const file = join(job.context.paths.blobs, 'sha256', hexOf(made.digest));
    const listed = execFileSync('tar', ['-tf', '-', ...(compression === 'none' ? [] : [`--${compression}`])], {
      input: readFileSync(file),
    }).toString();
    assert.equal(listed.split('\n')[0], './');
    const back = await untar(job.context, {
      sources: [{ file, what: 'the layer', digest: made.digest, diffId: made.diffId }],
      kind: 'layer',
    });
    assert.equal(back.id, tree);
  }
});

test('a changed file changes the frames around it and no others; they are not compressed again', async () => {
  using job = jobContext();
  const { context } = job;
  const make = async (tree: TreeId) => {
    const made = await makeFrames(context, { items: { kind: 'layer', tree }, compression: 'gzip' });
    return {
      made,
      frames: readFrames(blob(context, made.digest), decodeFrameTable(blob(context, made.table.digest))).map((frame) => sha256(frame)),
    };
  };
  const first = await make(application(context));
  const known = new Set(first.frames);
  for (const text of ['longer than it was before', 'x'.repeat(20_000)]) {
    const changed = await make(application(context, text));
    const fresh = changed.frames.filter((frame) => !known.has(frame));
    assert.ok(fresh.length > 0 && fresh.length <= 3, `${fresh.length} of ${changed.frames.length} frames are new`);
    // What came from the earlier blob and what was compressed afresh are the same bytes.
    rmSync(join(context.paths.root, 'frames'), { recursive: true });
    assert.deepEqual((await make(application(context, text))).made, changed.made);
  }
});

test('frames come from an earlier blob while it is there and undamaged', () => {
  using job = jobContext();
  const { paths, tmpDir } = job.context;
  const bytes = randomBytes(3000);
  const name = createHash('sha256').update(bytes).digest('hex');
  const file = join(paths.blobs, 'sha256', name);
  writeFileSync(file, bytes);
  const keys = ['a', 'b', 'c'].map((text) => FrameCache.key({ plain: Buffer.from(text), chunks: [] }, 'gzip 5'));
  assert.notDeepEqual(keys[0], FrameCache.key({ plain: Buffer.from('a'), chunks: [] }, 'zstd 3'), 'another compression is another frame');
  const crcs = [0, 1, 2].map((index) => crcOf(bytes.subarray(index * 1000, index * 1000 + 1000)));
  const ask = (): (string | undefined)[] => {
    const cache = new FrameCache(paths);
    try {
      return keys.map((key) => cache.get(key)?.toString('hex'));
    } finally {
      cache.close();
    }
  };
  const part = (id: string, offset: number, plain = 'abc') =>
    FrameCache.key({ plain: Buffer.from(plain), chunks: [{ id: id as ChunkId, offset, length: 1 }] }, '').toString('hex');
  assert.equal(
    new Set([part('1', 0), part('2', 0), part('1', 1), part('1', 0, 'abd')]).size,
    4,
    'ids, places and what is between chunks count',
  );
  assert.deepEqual(ask(), [undefined, undefined, undefined]);
  new FrameCache(paths).add(
    name,
    keys.map((key, index) => ({ key, offset: index * 1000, length: 1000, crc: crcs[index] ?? 0 })),
    tmpDir,
  );
  assert.deepEqual(
    ask(),
    [0, 1, 2].map((index) => bytes.subarray(index * 1000, index * 1000 + 1000).toString('hex')),
  );
  writeFileSync(file, Buffer.concat([bytes.subarray(0, 1500), Buffer.of((bytes[1500] ?? 0) ^ 1), bytes.subarray(1501)]));
  assert.deepEqual(
    ask().map((found) => found !== undefined),
    [true, false, true],
    'a flipped bit',
  );
  truncateSync(file, 2500);
  assert.deepEqual(
    ask().map((found) => found !== undefined),
    [true, false, false],
  );
  rmSync(file);
  assert.deepEqual(ask(), [undefined, undefined, undefined]);
  assert.deepEqual(readdirSync(join(paths.root, 'frames')), [], 'of a blob that is gone nothing is remembered');
});

test('no more blobs are remembered than a limit says, those used last', () => {
  using job = jobContext();
  const { paths, tmpDir } = job.context;
  const cache = new FrameCache(paths);
  mkdirSync(join(paths.blobs, 'sha256'), { recursive: true });
  const names = Array.from({ length: 80 }, (_, index) => sha256(String(index)));
  for (const name of names) {
    writeFileSync(join(paths.blobs, 'sha256', name), 'blob');
    cache.add(
      name,
      [{ key: FrameCache.key({ plain: Buffer.from(name), chunks: [] }, ''), offset: 0, length: 4, crc: crcOf(Buffer.from('blob')) }],
      tmpDir,
    );
    if (names.indexOf(name) === 40)
      assert.equal(cache.get(FrameCache.key({ plain: Buffer.from(names[0] ?? ''), chunks: [] }, ''))?.toString(), 'blob');
  }
  cache.close();
  const left = readdirSync(join(paths.root, 'frames'));
  assert.equal(left.length, 64);
  assert.ok(left.includes(names[0] ?? ''), 'the oldest was used');
  assert.ok(left.includes(names[79] ?? '') && !left.includes(names[1] ?? ''));
});

test('a pack has chunks and nothing else', async () => {
  using job = jobContext();
  const object = job.context.putBytes(words(400_000, 1)).object;
  const bytes = readFileSync(job.context.objectPath(object));
  let offset = 0;
  const chunks = [...cutChunks([bytes])].map((chunk) => {
    const part = { object, offset, length: chunk.length };
    offset += chunk.length;
    return part;
  });
  const made = await makeFrames(job.context, { items: { kind: 'chunks', chunks: [...chunks].reverse() }, compression: 'zstd' });
  const table = decodeFrameTable(blob(job.context, made.table.digest));
  const plain = Buffer.concat(readFrames(blob(job.context, made.digest), table));
  assert.equal(plain.length, bytes.length);
  assert.deepEqual(
    table.chunks.map(({ length }) => length),
    chunks.map(({ length }) => length).reverse(),
  );
  assert.ok(plain.subarray(0, chunks.at(-1)?.length).equals(bytes.subarray(chunks.at(-1)?.offset)));
  await assert.rejects(
    makeFrames(job.context, { items: { kind: 'chunks', chunks: [{ object, offset: 0, length: 300_000 }] }, compression: 'zstd' }),
    { code: 'CHUNK_SIZE' },
  );
  await assert.rejects(
    makeFrames(job.context, { items: { kind: 'chunks', chunks: [{ object, offset: 399_999, length: 2 }] }, compression: 'zstd' }),
    { code: 'OBJECT_DAMAGED' },
  );
});

test('content that is missing or short is told with its path, and no blob is left', async () => {
  using job = jobContext();
  const tree = application(job.context);
  const big = job.context.node(job.context.root(tree).full).find((entry) => entry.name === 'file-320');
  assert.ok(big?.type === EntryType.file && big.size > 300_000);
  truncateSync(job.context.objectPath(big.object), 200_000);
  await assert.rejects(makeFrames(job.context, { items: { kind: 'layer', tree }, compression: 'gzip' }), {
    code: 'OBJECT_DAMAGED',
    message: /"file-320".*200000 bytes/,
  });
  const [small] = job.context.node(job.context.root(tree).full).filter((entry) => entry.name === 'file-003');
  for (const damaged of [big, small]) {
    assert.ok(damaged?.type === EntryType.file);
    const place = job.context.objectPath(damaged.object);
    const sound = damaged === big ? words(damaged.size, 320) : readFileSync(place);
    rmSync(place);
    writeFileSync(place, Buffer.concat([Buffer.of((sound[0] ?? 0) ^ 1), sound.subarray(1)]));
    await assert.rejects(makeFrames(job.context, { items: { kind: 'layer', tree }, compression: 'gzip' }), {
      code: 'OBJECT_DAMAGED',
      message: new RegExp(`"${damaged.name}".*has other bytes`),
    });
    writeFileSync(place, sound);
  }
  rmSync(job.context.objectPath(big.object));
  await assert.rejects(makeFrames(job.context, { items: { kind: 'layer', tree }, compression: 'gzip' }), {
    code: 'OBJECT_DAMAGED',
    message: /is missing/,
  });
  assert.deepEqual(readdirSync(join(job.context.paths.blobs, 'sha256')), []);
});

test('a cancelled job leaves nothing, and the next one makes the blob', async () => {
  await using store: Store = await openStoreForTest();
  const folder = mkdtempSync(join(tmpdir(), 'slipway-layers-'));
  try {
    for (let index = 0; index < 20; index++) writeFileSync(join(folder, `f${index}`), randomBytes(1_000_000));
    const { id: tree } = await store.trees.ingest({ path: folder });
    const params = { items: { kind: 'layer', tree }, compression: 'gzip' } as const;
    const abort = new AbortController();
    const job = store.jobs.run<MadeFrames>('transport.frames', params, { signal: abort.signal, onProgress: () => abort.abort() });
    await assert.rejects(job, { code: 'CANCELLED' });
    assert.deepEqual(readdirSync(join(store.paths.blobs, 'sha256')), []);
    assert.deepEqual(readdirSync(store.paths.tmp), []);
    const made = await store.jobs.run<MadeFrames>('transport.frames', params);
    assert.equal(await store.blobs.has(made.digest), true);
    assert.deepEqual(await store.jobs.run<MadeFrames>('transport.frames', params), made, 'again, it is the same blob');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function crcOf(bytes: Buffer): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return ~crc >>> 0;
}
