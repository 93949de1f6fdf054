import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { digestOf, sha256 } from '../../src/oci/digest.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { TreeContext } from '../../src/store/port.ts';
import { applyLayers } from '../../src/transport/apply/job.ts';
import { GrowingFile } from '../../src/transport/untar/growing-file.ts';
import { untar } from '../../src/transport/untar/job.ts';
import { type UnlayerParams, type UnlayerResult, unlayer } from '../../src/transport/untar/layer-job.ts';
import { tarFile, tarMember, writeTar } from '../contracts/tar.ts';
import { describeTree, jobContext } from './archives-support.ts';

type Member = Parameters<typeof writeTar>[0][number];
const directory = (name: string, over = {}): Member => ({ member: tarMember(`${name}/`, { type: 'directory', mode: 0o755, ...over }) });
const symlink = (name: string, target: string): Member => ({
  member: tarMember(name, { type: 'symlink', linkTarget: target as ByteString, mode: 0o777 }),
});
const link = (name: string, target: string): Member => ({ member: tarMember(name, { type: 'link', linkTarget: target as ByteString }) });
const device = (name: string, major: number, minor: number): Member => ({ member: tarMember(name, { type: 'charDevice', major, minor }) });

type Job = { folder: string; context: TreeContext };

function write({ folder }: Job, members: Member[], name = 'layer.tar'): string {
  const file = join(folder, name);
  writeFileSync(file, writeTar(members));
  return file;
}

async function alone(job: Job, members: Member[], params: Partial<UnlayerParams> = {}): Promise<UnlayerResult> {
  return unlayer(job.context, { file: write(job, members), what: 'layer 1', ...params });
}

async function layerOf(job: Job, members: Member[]): Promise<Extract<UnlayerResult, { kind: 'layer' }>> {
  const result = await alone(job, members);
  if (result.kind !== 'layer') assert.fail(result.problem);
  return result;
}

/** As a pull does it: each layer for itself, all applied; one that needs those below is unpacked on top of them. */
async function side(job: Job, layers: Member[][]): Promise<{ tree: TreeId; fellBack: number }> {
  let base: TreeId | undefined;
  let fellBack = 0;
  let pending: { tree: TreeId; implied: readonly ByteString[] }[] = [];
  for (const members of layers) {
    const result = await alone(job, members);
    if (result.kind === 'layer') {
      pending.push({ tree: result.id, implied: result.implied });
      continue;
    }
    fellBack++;
    const lower = applyLayers(job.context, { layers: pending, base });
    pending = [];
    base = (await untar(job.context, { kind: 'layer', base: lower.id, sources: [{ file: write(job, members), what: 'layer' }] })).id;
  }
  return { tree: applyLayers(job.context, { layers: pending, base }).id, fellBack };
}

async function inSequence(job: Job, layers: Member[][]): Promise<TreeId> {
  const sources = layers.map((members, index) => ({ file: write(job, members, `${index}.tar`), what: 'layer' }));
  return (await untar(job.context, { kind: 'layer', sources })).id;
}

function random(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const names = ['a', 'b', 'c'];
const leaves = ['x', 'y', 'a'];
const name = (pick: (below: number) => number, among: string[]) => among[pick(among.length)] ?? 'a';

/** Leaves have mostly names of their own, so that few of them stand where a directory has to be. */
function randomPath(pick: (below: number) => number, last = pick(2) === 0 ? names : leaves): string {
  return [...Array.from({ length: pick(3) }, () => name(pick, names)), name(pick, last)].join('/');
}

/** `files` are the paths where earlier members put files, in this layer and in those below. */
function randomMember(pick: (below: number) => number, files: string[]): Member {
  const path = randomPath(pick, pick(8) === 0 ? names : leaves);
  const meta = { mode: 0o600 + pick(0o100), uid: pick(3), mtimeSec: pick(1000) };
  const known = files[pick(files.length)] ?? path;
  switch (pick(13)) {
    case 0:
    case 1:
      return directory(randomPath(pick, names), meta);
    case 2:
      return directory(path, meta);
    case 3:
    case 4: {
      const hidden = pick(2) === 0 ? randomPath(pick) : known;
      return { member: tarMember(hidden.replace(/[^/]*$/, '.wh.$&'), {}) };
    }
    case 5:
      return { member: tarMember(`${pick(4) === 0 ? '' : `${randomPath(pick, names)}/`}.wh..wh..opq`, {}) };
    case 6:
    case 7:
      return link(path, pick(12) === 0 ? randomPath(pick) : known);
    case 8:
      return symlink(path, pick(3) === 0 ? `../${randomPath(pick)}` : `/${randomPath(pick)}`);
    case 9:
      return pick(3) === 0 ? directory('.', meta) : device(path, 0, 0);
    default:
      files.push(path);
      return tarFile(path, `content ${pick(5)}`, meta);
  }
}

function randomLayers(pick: (below: number) => number): Member[][] {
  const files: string[] = [];
  return Array.from({ length: 1 + pick(4) }, () => Array.from({ length: 1 + pick(9) }, () => randomMember(pick, files)));
}

test('layers read for themselves and applied are what they are unpacked one over the other', async () => {
  using job = jobContext();
  const counts = { same: 0, refused: 0, fellBack: 0 };
  for (let seed = 0; seed < 1000; seed++) {
    const pick = random(seed);
    const layers = randomLayers(pick);
    const said = `seed ${seed}: ${JSON.stringify(layers.map((members) => members.map(({ member }) => `${member.type} ${member.name} ${member.linkTarget}`)))}`;
    const expected = await inSequence(job, layers).catch((error: unknown) => error);
    const found = await side(job, layers).catch((error: unknown) => error);
    if (expected instanceof EngineError) {
      assert.ok(found instanceof EngineError, `only the sequence is refused (${expected.message}): ${said}`);
      counts.refused++;
      continue;
    }
    if (found instanceof Error) assert.fail(`refused (${found.message}): ${said}`);
    const { tree, fellBack } = found as { tree: TreeId; fellBack: number };
    if (tree !== expected) assert.deepEqual(describeTree(job.context, tree), describeTree(job.context, expected as TreeId), said);
    assert.equal(tree, expected, said);
    counts.same++;
    counts.fellBack += fellBack;
  }
  assert.ok(counts.same > 300, JSON.stringify(counts));
  assert.ok(counts.fellBack > 50, JSON.stringify(counts));
});

test('a layer alone has its deletions as files, and says which directories it never names', async () => {
  using job = jobContext();
  const layer = await layerOf(job, [
    tarFile('a/b/c', 'x'),
    tarFile('a/.wh.gone', 'ignored'),
    tarFile('e/.wh..wh..opq', ''),
    device('f/old', 0, 0),
    tarFile('.wh..wh.plnk/7', 'linked'),
    tarFile('.wh..wh.aufs', ''),
    directory('g', { mode: 0o700 }),
    link('g/linked', '.wh..wh.plnk/7'),
    link('g/too', '/.wh..wh.plnk/7'),
  ]);
  assert.deepEqual(describeTree(job.context, layer.id), [
    'd a 755 0:0',
    'f a/.wh.gone 0 0:0 0',
    'd a/b 755 0:0',
    'f a/b/c 644 0:0 1',
    'd e 755 0:0',
    'f e/.wh..wh..opq 0 0:0 0',
    'd f 755 0:0',
    'f f/.wh.old 0 0:0 0',
    'd g 700 0:0',
    'f g/linked 644 0:0 6',
    'f g/too 644 0:0 6',
    '= g/linked g/too',
  ]);
  assert.deepEqual(layer.implied, ['', 'a', 'a/b', 'e', 'f']);
  const applied = applyLayers(job.context, { layers: [{ tree: layer.id, implied: layer.implied }] });
  assert.deepEqual(describeTree(job.context, applied.id), [
    'd a 755 0:0',
    'd a/b 755 0:0',
    'f a/b/c 644 0:0 1',
    'd g 700 0:0',
    'f g/linked 644 0:0 6',
    'f g/too 644 0:0 6',
    '= g/linked g/too',
  ]);
});

test('a layer that only deletes makes no directory where there was nothing to delete', async () => {
  using job = jobContext();
  const layers = [
    [symlink('etc', '/usr/etc'), tarFile('var', 'a file')],
    [tarFile('etc/.wh.x', ''), tarFile('var/.wh..wh..opq', ''), tarFile('no/where/.wh.x', '')],
  ];
  const { tree } = await side(job, layers);
  assert.deepEqual(describeTree(job.context, tree), ['l etc 777 0:0 -> /usr/etc', 'f var 644 0:0 6']);
  assert.equal(tree, await inSequence(job, layers));
});

test('deletions mean the same whether they come before or after what replaces them', async () => {
  using job = jobContext();
  const lower = [directory('d', { mode: 0o700 }), directory('d/e', { mode: 0o711 }), tarFile('d/e/old', '1'), tarFile('d/old', '2')];
  const entries = [tarFile('d/e/new', '3')];
  for (const deletion of ['.wh.d', 'd/.wh..wh..opq', 'd/.wh.e']) {
    const before = [lower, [tarFile(deletion, ''), ...entries]];
    const after = [lower, [...entries, tarFile(deletion, '')]];
    const tree = await inSequence(job, before);
    assert.equal(await inSequence(job, after), tree, deletion);
    assert.equal((await side(job, after)).tree, tree, deletion);
    const shown = describeTree(job.context, tree);
    assert.ok(
      shown.includes('d d/e 755 0:0') && shown.includes('f d/e/new 644 0:0 1') && !shown.some((line) => line.includes('d/e/old')),
      deletion,
    );
  }
});

test('hard links: groups of a layer stay, groups below lose what a layer hides, a link to what is below needs what is below', async () => {
  using job = jobContext();
  const layers = [
    [tarFile('a', 'one'), link('b', 'a'), link('d/c', 'a'), tarFile('p', 'two'), link('q', 'p')],
    [tarFile('.wh.b', ''), tarFile('p', 'new'), link('r', 'p')],
  ];
  const { tree } = await side(job, layers);
  assert.deepEqual(job.context.root(tree).hardlinks, [
    ['a', 'd/c'],
    ['p', 'r'],
  ]);
  assert.equal(tree, await inSequence(job, layers));
  const needing = await alone(job, [link('e', 'a')]);
  assert.equal(needing.kind, 'needsLower');
  const both = await side(job, [...layers, [link('e', 'a'), link('f', 'd/c')]]);
  assert.equal(both.fellBack, 1);
  assert.deepEqual(job.context.root(both.tree).hardlinks, [
    ['a', 'd/c', 'e', 'f'],
    ['p', 'r'],
  ]);
});

test('a blob is read while it grows, whatever its compression, and hashed both ways', async () => {
  using job = jobContext();
  const tar = writeTar(Array.from({ length: 300 }, (_, index) => tarFile(`dir/${index}`, Buffer.alloc(3000, index))));
  const half = tar.length >> 1;
  const blobs = {
    plain: tar,
    gzip: Buffer.concat([gzipSync(tar.subarray(0, half)), gzipSync(tar.subarray(half))]),
    zstd: Buffer.concat([zstdCompressSync(tar.subarray(0, half)), zstdCompressSync(tar.subarray(half))]),
  };
  const trees = new Set<string>();
  for (const [name, blob] of Object.entries(blobs)) {
    const file = join(job.folder, name);
    const growing = new GrowingFile();
    writeFileSync(file, '');
    const reading = unlayer(job.context, {
      file,
      what: name,
      growing: growing.shared,
      digest: digestOf(sha256(blob)),
      diffId: digestOf(sha256(tar)),
    });
    const step = Math.ceil(blob.length / 5);
    for (let at = 0; at < blob.length; at += step) {
      writeFileSync(file, blob.subarray(at, at + step), { flag: 'a' });
      growing.grow(Math.min(at + step, blob.length));
      await sleep(3);
    }
    growing.end();
    const result = await reading;
    if (result.kind !== 'layer') assert.fail(result.problem);
    assert.equal(result.plainBytes, tar.length);
    assert.equal(result.sizeBytes, blob.length);
    assert.equal(readFileSync(file).length, blob.length);
    trees.add(result.id);
  }
  assert.equal(trees.size, 1);
});

test('a blob that will not come whole, is another one, or unpacks to too much gives no layer', async () => {
  using job = jobContext();
  const tar = writeTar([tarFile('zeros', Buffer.alloc(1 << 20))]);
  const file = join(job.folder, 'blob');
  writeFileSync(file, gzipSync(tar));
  const growing = new GrowingFile();
  growing.grow(10);
  const reading = unlayer(job.context, { file, what: 'layer 1', growing: growing.shared });
  setTimeout(() => growing.fail(), 20);
  await assert.rejects(reading, { code: 'DOWNLOAD_FAILED' });
  await assert.rejects(unlayer(job.context, { file, what: 'layer 1', maxPlainBytes: 1 << 19 }), {
    code: 'LAYER_TOO_LARGE',
    message: /^layer 1 has more than 524288 bytes/,
  });
  const other = digestOf(sha256('other'));
  await assert.rejects(unlayer(job.context, { file, what: 'layer 1', diffId: other }), { code: 'LAYER_DAMAGED' });
  await assert.rejects(unlayer(job.context, { file, what: 'layer 1', digest: other }), { code: 'BLOB_DAMAGED' });
  const bent = gzipSync(tar);
  bent[bent.length >> 1] = (bent[bent.length >> 1] ?? 0) ^ 0x10;
  writeFileSync(file, bent);
  await assert.rejects(unlayer(job.context, { file, what: 'layer 1', digest: digestOf(sha256(gzipSync(tar))) }), { code: 'BLOB_DAMAGED' });
  await assert.rejects(unlayer(job.context, { file, what: 'layer 1', digest: digestOf(sha256(bent)) }), { kind: 'InvalidArgument' });
});

test('holes of a sparse file count, so that a small layer cannot keep the engine hashing zeros', async () => {
  using job = jobContext();
  const size = 4 * 2 ** 40;
  const sparse: Member = {
    member: tarMember('GNUSparseFile.0/huge', { xattrs: [], size: 0 }),
  };
  const records = [`GNU.sparse.major=1`, `GNU.sparse.minor=0`, `GNU.sparse.name=huge`, `GNU.sparse.realsize=${size}`];
  const body = Buffer.from(records.map((record) => paxRecord(record)).join(''));
  const map = Buffer.alloc(512);
  map.write('0\n');
  const header = tarMember('PaxHeaders/huge', { size: body.length });
  const file = join(job.folder, 'sparse.tar');
  const pax = writeTar([{ member: header, content: body }], { end: false });
  pax.write('x', 156, 'latin1');
  fixChecksum(pax);
  writeFileSync(file, Buffer.concat([pax, writeTar([{ member: { ...sparse.member, size: map.length }, content: map }])]));
  await assert.rejects(unlayer(job.context, { file, what: 'layer 1' }), { code: 'LAYER_TOO_LARGE' });
});

function paxRecord(record: string): string {
  let length = record.length + 3;
  while (`${length} ${record}\n`.length !== length) length = `${length} ${record}\n`.length;
  return `${length} ${record}\n`;
}

function fixChecksum(header: Buffer): void {
  header.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of header.subarray(0, 512)) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}
