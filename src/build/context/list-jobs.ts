import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { EngineError } from '../../base/errors.ts';
import { type Hex, isHex } from '../../oci/digest.ts';
import { EntryType, type FileEntry, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { invalidList, readJsonLines } from './list-lines.ts';
import { ListedTree } from './listed-tree.ts';

/** `file`: the list as it came, gzipped. */
export type ContextListParams = { file: string };
/** A tree once every content is here; until then the digests of those that are not, each once. */
export type ContextListResult = { tree: TreeRef } | { missing: Hex[] };

/** Job `build.contextList`: what a list of a folder's entries (docs/formats/build-context.md) lacks, or the tree. NotFound `CONTEXT_BASE_UNKNOWN`. */
export async function readContextList(context: TreeContext, { file }: ContextListParams): Promise<ContextListResult> {
  let tree: ListedTree | undefined;
  const known = new Set<Hex>();
  const missing = new Set<Hex>();
  await readJsonLines(file, (line) => {
    if (tree === undefined) {
      tree = new ListedTree(context, baseOf(context, line));
      return;
    }
    const object = tree.take(line);
    if (object === undefined || known.has(object) || missing.has(object)) return;
    (existsSync(context.objectPath(object)) ? known : missing).add(object);
  });
  if (tree === undefined) throw invalidList('it is empty');
  return missing.size > 0 ? { missing: [...missing] } : { tree: tree.finish() };
}

function baseOf(context: TreeContext, head: unknown): TreeId | undefined {
  const { version, base } = (head ?? {}) as { version?: unknown; base?: unknown };
  if (version !== 1) throw invalidList('it is of another version');
  if (base === undefined) return undefined;
  if (typeof base !== 'string' || !isHex(base)) throw invalidList('its base is no tree');
  try {
    context.root(base as TreeId);
    return base as TreeId;
  } catch (error) {
    if (!(error instanceof EngineError) || error.kind !== 'NotFound') throw error;
    throw new EngineError('NotFound', 'CONTEXT_BASE_UNKNOWN', `there is no tree ${base} here`, { hint: 'Send the whole list.' });
  }
}

/** `file`: contents as they came, each after its digest (32 bytes) and its length (8 bytes, little-endian). */
export type TakeContentsParams = { file: string };

const headBytes = 40;
/** Contents up to this size are put in one piece. */
const smallBytes = 64 * 1024;

/** Job `build.takeContents`: puts contents into the store; the tree that it gives holds them, each under its digest. Conflict `CONTEXT_FILE_CHANGED` for one that is not what it was said to be. */
export function takeContents(context: TreeContext, { file }: TakeContentsParams): TreeRef {
  const input = new Input(file);
  const meta = { mode: 0o600, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };
  const taken = new Map<Hex, FileEntry>();
  try {
    for (let head = input.head(); head !== undefined; head = input.head()) {
      const { object, size } = put(context, input, head.size);
      if (object !== head.digest) {
        throw new EngineError(
          'Conflict',
          'CONTEXT_FILE_CHANGED',
          `a file of the build context is ${object} and not ${head.digest}, as it was said to be`,
          {
            hint: 'It was written to meanwhile. Build again.',
          },
        );
      }
      taken.set(object, { ...meta, type: EntryType.file, name: object as string as FileEntry['name'], size, object });
    }
  } finally {
    input.close();
  }
  return context.putRoot({ ...meta, mode: 0o700, ...context.putNode([...taken.values()]), hardlinks: [] });
}

function put(context: TreeContext, input: Input, size: number): { object: Hex; size: number } {
  if (size <= smallBytes) return context.putBytes(input.exactly(size));
  const object = context.writeObject();
  try {
    for (let left = size; left > 0; ) {
      const piece = input.exactly(Math.min(left, 1024 * 1024));
      object.write(piece);
      left -= piece.length;
    }
    return object.finish();
  } catch (error) {
    object.abort();
    throw error;
  }
}

class Input {
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafe(1024 * 1024);
  #start = 0;
  #end = 0;

  constructor(file: string) {
    this.#fd = openSync(file, 'r');
  }

  /** Undefined at the end. */
  head(): { digest: Hex; size: number } | undefined {
    if (this.#end === this.#start && this.#fill(1) === 0) return undefined;
    const head = this.exactly(headBytes);
    const size = head.readBigUInt64LE(32);
    if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidContents();
    return { digest: head.toString('hex', 0, 32) as Hex, size: Number(size) };
  }

  /** At most a megabyte; valid until the next call. */
  exactly(bytes: number): Buffer {
    if (this.#end - this.#start < bytes && this.#fill(bytes) < bytes) throw invalidContents();
    this.#start += bytes;
    return this.#buffer.subarray(this.#start - bytes, this.#start);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #fill(wanted: number): number {
    this.#buffer.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    while (this.#end < wanted) {
      const read = readSync(this.#fd, this.#buffer, this.#end, this.#buffer.length - this.#end, null);
      if (read === 0) break;
      this.#end += read;
    }
    return this.#end;
  }
}

function invalidContents(): EngineError {
  return new EngineError('InvalidArgument', 'CONTEXT_CONTENTS_CUT', 'the contents of the build context end too soon');
}
