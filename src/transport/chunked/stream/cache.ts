import { hash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../../base/errors.ts';
import { isHex } from '../../../oci/digest.ts';
import type { TreeId } from '../../../store/model.ts';
import type { StorePaths } from '../../../store/port.ts';
import type { ChunkId } from '../../frames/model.ts';
import { DirectoryTable, idOf, type StreamChunk, type TreeStream } from './tree-stream.ts';

/** A stream of a tree that is here whole, and the chunks that it is cut into. */
export type CachedStream = TreeStream & { readonly tree: TreeId; readonly chunks: readonly StreamChunk[] };

const magic = 'SLIPWAY STREAM 1';
/** The mark, three counts, and the SHA-256 of the directories' rows. */
const headerBytes = 72;
const chunkRow = 24;
/** A stream is kept for what an image's next version needs; older ones give way. */
const maxFiles = 12;
const maxBytes = 256 << 20;

/**
 * Streams of trees that are here, in `streams/` under the engine's root: a cache, made anew when it is gone or damaged. Only whole trees have one.
 */
export class StreamCache {
  readonly #folder: string;

  constructor(paths: StorePaths) {
    this.#folder = join(paths.root, 'streams');
  }

  load(tree: TreeId): CachedStream | undefined {
    const path = join(this.#folder, tree);
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
      const now = new Date();
      utimesSync(path, now, now);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
    const stream = parse(tree, bytes);
    if (stream === undefined) rmSync(path, { force: true });
    return stream;
  }

  save({ tree, bytes, directories, chunks }: CachedStream): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const rows = Buffer.allocUnsafe(chunks.length * chunkRow);
    for (const [i, { id, length, offset }] of chunks.entries()) {
      rows.write(id, i * chunkRow, 16, 'hex');
      rows.writeUInt32LE(length, i * chunkRow + 16);
      rows.writeUInt32LE(offset, i * chunkRow + 20);
    }
    const header = Buffer.alloc(headerBytes);
    header.write(magic, 0, 'latin1');
    header.writeDoubleLE(bytes.length, 16);
    header.writeDoubleLE(chunks.length, 24);
    header.writeDoubleLE(directories.count, 32);
    hash('sha256', directories.rows, 'buffer').copy(header, 40);
    const temporary = join(this.#folder, `.${randomBytes(6).toString('hex')}`);
    writeFileSync(temporary, Buffer.concat([header, bytes, rows, directories.rows]), { mode: 0o600 });
    renameSync(temporary, join(this.#folder, tree));
    this.#prune();
  }

  remove(tree: TreeId): void {
    rmSync(join(this.#folder, tree), { force: true });
  }

  #prune(): void {
    const files = readdirSync(this.#folder).flatMap((name) => {
      const path = join(this.#folder, name);
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat === undefined ? [] : [{ path, size: stat.size, at: stat.mtimeMs, whole: isHex(name) }];
    });
    files.sort((a, b) => b.at - a.at);
    let total = 0;
    let count = 0;
    for (const { path, size, at, whole } of files) {
      // A file that is being written, or that a crash left.
      if (!whole) {
        if (at < Date.now() - 3_600_000) rmSync(path, { force: true });
        continue;
      }
      total += size;
      count++;
      if (count > 1 && (count > maxFiles || total > maxBytes)) rmSync(path, { force: true });
    }
  }
}

function parse(tree: TreeId, file: Buffer): CachedStream | undefined {
  if (file.length < headerBytes || file.toString('latin1', 0, 16) !== magic) return undefined;
  const length = file.readDoubleLE(16);
  const chunkCount = file.readDoubleLE(24);
  const directoryCount = file.readDoubleLE(32);
  const chunksAt = headerBytes + length;
  const directoriesAt = chunksAt + chunkCount * chunkRow;
  if (directoriesAt + directoryCount * 80 !== file.length) return undefined;
  const bytes = file.subarray(headerBytes, chunksAt);
  const rows = file.subarray(directoriesAt);
  if (hash('sha256', rows, 'buffer').compare(file, 40, headerBytes) !== 0) return undefined;
  const chunks: StreamChunk[] = [];
  for (let at = chunksAt; at < directoriesAt; at += chunkRow) {
    const chunk = {
      id: file.toString('hex', at, at + 16) as ChunkId,
      length: file.readUInt32LE(at + 16),
      offset: file.readUInt32LE(at + 20),
    };
    if (idOf(bytes.subarray(chunk.offset, chunk.offset + chunk.length)) !== chunk.id) return undefined;
    chunks.push(chunk);
  }
  return { tree, bytes, chunks, directories: new DirectoryTable(rows, directoryCount) };
}
