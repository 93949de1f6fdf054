import { closeSync, openSync, readSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { type ByteString, toBytes, toPathBuffer, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { route } from '../client/client.ts';
import type { Context } from '../command.ts';
import { FolderCache, type Remembered } from './folder-cache.ts';
import { type FolderList, listFolder } from './folder-list.ts';
import { alwaysSent, readIgnore } from './upload.ts';

type Engine = Pick<Context, 'client' | 'env'>;
type Options = {
  folder: string;
  /** Its path in the folder, '' when it is no file of it. */
  dockerfile: string;
  signal: AbortSignal;
};
type Offered = { tree: string } | { id: string; missing: string[] };

const listType = 'application/vnd.slipway.build-context+json+gzip';
/** Contents of one request. What a request brought stays when the next one is cut off. */
const requestBytes = 32 * 1024 * 1024;
const pieceBytes = 256 * 1024;
/** How often it is begun again when files change meanwhile. */
const tries = 3;

/** Sends of a folder what the daemon lacks (docs/formats/build-context.md), and gives the tree that the daemon then has of it. */
export async function sendFolder(engine: Engine, options: Options): Promise<{ tree: string; files: number; sentBytes: number }> {
  const { endpoint } = engine.client;
  const cache = new FolderCache([endpoint.shown, options.folder, options.dockerfile], engine.env);
  for (let left = tries; ; left--) {
    try {
      return await sendOnce(engine, cache, options);
    } catch (error) {
      const changed = error instanceof EngineError && ['FILE_CHANGED', 'CONTEXT_FILE_CHANGED'].includes(error.code);
      if (!changed || left === 1) throw error;
    }
  }
}

async function sendOnce(engine: Engine, cache: FolderCache, options: Options): Promise<{ tree: string; files: number; sentBytes: number }> {
  const { folder, dockerfile, signal } = options;
  const earlier = cache.read();
  const ignore = await readIgnore(folder, dockerfile);
  const list = await listFolder(folder, { ignore, always: alwaysSent(dockerfile), earlier: earlier.entries, signal });
  const offered = await offer(engine, list, earlier, signal);
  let sentBytes = 0;
  let { tree } = offered as { tree?: string };
  if ('missing' in offered) {
    sentBytes = await sendContents(engine, list, offered, options);
    ({ tree } = await engine.client.json<{ tree: string }>('POST', route`/slipway/build-contexts/${offered.id}/finish`, { signal }));
  }
  // Of an unchanged folder the file is as it should be: it has a hundred bytes for each of its entries.
  if (tree !== earlier.tree || list.hashedFiles > 0) cache.write({ tree, entries: list.entries });
  return { tree: tree as string, files: list.files, sentBytes };
}

/** What changed since the tree that the daemon had last time, or all where it has that no more. */
async function offer({ client }: Engine, list: FolderList, earlier: Remembered, signal: AbortSignal): Promise<Offered> {
  const send = (lines: readonly unknown[]) => {
    const body = gzipSync(Buffer.from(`${lines.map((line) => JSON.stringify(line)).join('\n')}\n`), { level: 1 });
    return client.json<Offered>('POST', '/slipway/build-contexts', { headers: { 'Content-Type': listType }, body, signal });
  };
  if (earlier.tree !== undefined) {
    try {
      return await send([{ version: 1, base: earlier.tree }, ...changesOf(list, earlier)]);
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'CONTEXT_BASE_UNKNOWN')) throw error;
    }
  }
  return send([{ version: 1 }, ...[...list.entries.values()].map(({ line }) => line)]);
}

function changesOf({ entries }: FolderList, earlier: Remembered): unknown[] {
  const changes: unknown[] = [];
  for (const path of earlier.entries.keys()) if (!entries.has(path)) changes.push(['-', path]);
  for (const [path, { line }] of entries) {
    const before = earlier.entries.get(path)?.line;
    const same = before !== undefined && before.length === line.length && line.every((value, at) => value === before[at]);
    if (!same) changes.push(line);
  }
  return changes;
}

async function sendContents(
  { client }: Engine,
  { entries }: FolderList,
  { id, missing }: { id: string; missing: readonly string[] },
  { folder, signal }: Options,
): Promise<number> {
  const wanted = new Set(missing);
  const files: Wanted[] = [];
  for (const [path, { line }] of entries) {
    const digest = String(line[6]);
    if (line[0] === 'f' && wanted.delete(digest)) files.push({ path, digest, size: Number(line[5]) });
  }
  if (wanted.size > 0)
    throw new EngineError('Internal', 'CONTEXT_UNKNOWN_CONTENT', 'the daemon asks for contents that are not in the folder');
  let sentBytes = 0;
  for (const batch of batches(files)) {
    const body = contents(folder, batch, (bytes) => {
      sentBytes += bytes;
    });
    const headers = { 'Content-Type': 'application/octet-stream' };
    (await client.call('POST', route`/slipway/build-contexts/${id}/contents`, { headers, body, signal })).close();
  }
  return sentBytes;
}

type Wanted = { path: ByteString; digest: string; size: number };

function* batches(files: readonly Wanted[]): Generator<Wanted[]> {
  let batch: Wanted[] = [];
  let bytes = 0;
  for (const file of files) {
    if (batch.length > 0 && bytes + file.size > requestBytes) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(file);
    bytes += file.size;
  }
  if (batch.length > 0) yield batch;
}

/** Small files go together: a write for each would cost more than the files. */
async function* contents(
  folder: string,
  files: readonly Wanted[],
  onSent: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let gathered: Buffer[] = [];
  let bytes = 0;
  for (const { path, digest, size } of files) {
    const head = Buffer.alloc(40);
    head.write(digest, 'hex');
    head.writeBigUInt64LE(BigInt(size), 32);
    gathered.push(head);
    for (const piece of read(folder, path, size)) {
      gathered.push(piece);
      bytes += piece.length;
      if (bytes < pieceBytes) continue;
      yield Buffer.concat(gathered);
      onSent(bytes);
      gathered = [];
      bytes = 0;
    }
  }
  if (gathered.length > 0) yield Buffer.concat(gathered);
  onSent(bytes);
}

function* read(folder: string, path: ByteString, size: number): Generator<Buffer> {
  const fd = openSync(toPathBuffer(`${toBytes(folder)}/${path}` as ByteString), 'r');
  try {
    for (let left = size; left > 0; ) {
      const buffer = Buffer.allocUnsafe(Math.min(left, pieceBytes));
      const bytes = readSync(fd, buffer);
      if (bytes === 0) {
        throw new EngineError('Conflict', 'FILE_CHANGED', `${toText(path)} became shorter while it was sent`, {
          hint: 'Try again when nothing writes to it.',
        });
      }
      yield buffer.subarray(0, bytes);
      left -= bytes;
    }
  } finally {
    closeSync(fd);
  }
}
