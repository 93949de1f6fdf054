import { readFile } from 'node:fs/promises';
import { type ByteString, toText } from '../base/bytes.ts';
import { EngineError } from '../base/errors.ts';
import type { Hex } from '../oci/digest.ts';
import type { DatabaseClient } from './database/client.ts';
import { packNode } from './database/commit.ts';
import { nodeNotFound, treeNotFound } from './jobs/node-source.ts';
import { type Entry, EntryType, type Root, type TreeId, type TreeRef } from './model.ts';
import { objectPath } from './paths.ts';
import type { Change, Edit, IngestParams, IngestResult, JobOptions, Jobs, StorePaths, Trees } from './port.ts';
import { ByteWriter } from './tree/byte-writer.ts';
import { decodeNode, decodeRoot, encodeNode, encodeRoot } from './tree/codec.ts';
import { findEntry } from './tree/entries.ts';
import { plainDirectory } from './tree/mutable-tree.ts';
import { type Resolved, resolveLater, resolvePath } from './tree/resolve.ts';
import { describe } from './trees/graft.ts';

const defaultReadLimit = 16 * 1024 * 1024;
/** Entries of decoded directories that the main thread keeps: a few MB. */
const cachedEntries = 20_000;

/** Changes run as jobs; look-ups are answered here, from nodes that the database thread reads. */
export class JobTrees implements Trees {
  readonly empty: TreeRef;
  readonly #jobs: Jobs;
  readonly #database: DatabaseClient;
  readonly #paths: StorePaths;
  readonly #nodes = new NodeCache(cachedEntries);

  private constructor(jobs: Jobs, database: DatabaseClient, paths: StorePaths, empty: TreeRef) {
    this.#jobs = jobs;
    this.#database = database;
    this.#paths = paths;
    this.empty = empty;
  }

  static async open(jobs: Jobs, database: DatabaseClient, paths: StorePaths): Promise<JobTrees> {
    return new JobTrees(jobs, database, paths, await commitEmptyTree(database));
  }

  ingest(params: IngestParams, options?: JobOptions): Promise<IngestResult> {
    return this.#jobs.run('store.ingest', params, options);
  }

  edit(base: TreeId, edits: readonly Edit[], options?: JobOptions): Promise<TreeRef> {
    return this.#jobs.run('store.edit', { base, edits }, options);
  }

  merge(lower: TreeId, upper: TreeId, options?: JobOptions): Promise<TreeRef> {
    return this.#jobs.run('store.merge', { lower, upper }, options);
  }

  diff(before: TreeId, after: TreeId, options: JobOptions & { compare?: 'full' | 'content' } = {}): Promise<Change[]> {
    return this.#jobs.run('store.diff', { before, after, compare: options.compare }, options);
  }

  adopt(tree: TreeId, earlier: TreeId, options?: JobOptions): Promise<TreeRef> {
    return this.#jobs.run('store.adopt', { tree, earlier }, options);
  }

  selectionDigest(tree: TreeId, paths: readonly ByteString[], options?: JobOptions): Promise<Hex> {
    return this.#jobs.run('store.selection', { tree, paths }, options);
  }

  checkout(tree: TreeId, directory: string, options?: JobOptions): Promise<void> {
    return this.#jobs.run('store.checkout', { tree, directory }, options);
  }

  async lookup(tree: TreeId, path: ByteString, options: { follow?: boolean } = {}): Promise<Entry | undefined> {
    const root = await this.get(tree);
    const resolved = await this.#resolve(root, path, options.follow ?? false);
    if (resolved === undefined || !resolved.exists) return undefined;
    if (resolved.parent !== undefined && resolved.name !== undefined) return findEntry(await this.#node(resolved.parent), resolved.name);
    // The root itself, as the entry that it would be; it has no name.
    const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs, full, content } = root;
    return { type: EntryType.directory, name: '' as ByteString, mode, uid, gid, mtimeSec, mtimeNsec, xattrs, full, content };
  }

  async list(tree: TreeId, path: ByteString): Promise<readonly Entry[]> {
    const resolved = await this.#resolve(await this.get(tree), path, true);
    if (resolved === undefined || !resolved.exists) throw pathNotFound(path);
    if (resolved.directory === undefined) {
      throw new EngineError('InvalidArgument', 'NOT_A_DIRECTORY', `/${toText(path)} is not a directory`);
    }
    return this.#node(resolved.directory);
  }

  async readFile(tree: TreeId, path: ByteString, options: { limit?: number } = {}): Promise<Buffer> {
    const limit = options.limit ?? defaultReadLimit;
    const entry = await this.lookup(tree, path, { follow: true });
    if (entry === undefined) throw pathNotFound(path);
    if (entry.type !== EntryType.file) throw new EngineError('InvalidArgument', 'NOT_A_FILE', `/${toText(path)} is not a regular file`);
    if (entry.size > limit) {
      throw new EngineError(
        'InvalidArgument',
        'FILE_TOO_LARGE',
        `/${toText(path)} has ${entry.size} bytes, more than the ${limit} that are read at once`,
      );
    }
    return readFile(objectPath(this.#paths, entry.object));
  }

  async stat(tree: TreeId): Promise<{ files: number; directories: number; bytes: number }> {
    const { totals } = await this.#record(tree);
    return { files: totals.files, directories: totals.directories, bytes: totals.size };
  }

  async get(id: TreeId): Promise<Root> {
    const { bytes } = await this.#record(id);
    return decodeRoot(bytes, `the record of tree ${id}`);
  }

  async findByContent(content: Hex): Promise<TreeRef | undefined> {
    const id = await this.#database.call('findTreeByContent', content);
    return id === undefined ? undefined : { id, content };
  }

  async #record(id: TreeId) {
    const record = await this.#database.call('readTree', id);
    if (record === undefined) throw treeNotFound(id);
    return record;
  }

  async #node(full: Hex): Promise<readonly Entry[]> {
    const cached = this.#nodes.get(full);
    if (cached !== undefined) return cached;
    const bytes = await this.#database.call('readNode', full);
    if (bytes === undefined) throw nodeNotFound(full);
    const entries = decodeNode(bytes, `directory node ${full}`);
    this.#nodes.set(full, entries);
    return entries;
  }

  #resolve(root: Root, path: ByteString, follow: boolean): Promise<Resolved<Hex> | undefined> {
    return resolveLater(resolvePath(root.full, path, { follow }), async ({ directory, name }) =>
      describe(findEntry(await this.#node(directory), name)),
    );
  }
}

async function commitEmptyTree(database: DatabaseClient): Promise<TreeRef> {
  const writer = new ByteWriter(1024);
  const totals = { files: 0, directories: 0, size: 0 };
  const node = encodeNode(writer, []);
  const nodes = new ByteWriter(1024);
  packNode(nodes, node.full, totals, writer.view(node.start, node.end));
  const { id, content, start, end } = encodeRoot(writer, { ...plainDirectory, full: node.full, content: node.content, hardlinks: [] });
  const bytes = Buffer.from(writer.view(start, end));
  if ((await database.call('readTree', id)) === undefined) {
    await database.call('commitTrees', { nodes: nodes.take(), roots: [{ id, content, bytes, totals }] }, [], undefined);
  }
  return { id, content };
}

function pathNotFound(path: ByteString): EngineError {
  return new EngineError('NotFound', 'PATH_NOT_FOUND', `/${toText(path)} is not in the image`);
}

/** Decoded directories, the least recently used dropped first, bounded by the number of their entries. */
class NodeCache {
  readonly #limit: number;
  readonly #nodes = new Map<Hex, readonly Entry[]>();
  #entries = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(full: Hex): readonly Entry[] | undefined {
    const entries = this.#nodes.get(full);
    if (entries === undefined) return undefined;
    this.#nodes.delete(full);
    this.#nodes.set(full, entries);
    return entries;
  }

  set(full: Hex, entries: readonly Entry[]): void {
    if (this.#nodes.has(full)) return;
    this.#nodes.set(full, entries);
    this.#entries += entries.length + 1;
    for (const [oldest, dropped] of this.#nodes) {
      if (this.#entries <= this.#limit || oldest === full) break;
      this.#nodes.delete(oldest);
      this.#entries -= dropped.length + 1;
    }
  }
}
