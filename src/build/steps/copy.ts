import { posix } from 'node:path';
import { type ByteString, toBytes } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { EntryType, type Meta, type TreeId, type TreeRef } from '../../store/model.ts';
import { objectPath } from '../../store/paths.ts';
import type { Edit, Store } from '../../store/port.ts';
import type { Archives } from '../../transport/port.ts';
import { errorAt } from '../graph/place.ts';
import type { CopyOperation, CopySource } from '../graph/vertex.ts';
import type { Executor, Prepared, Read, StepContext } from '../solver/executor.ts';
import type { ChangeModesParams } from './change-modes.ts';
import type { CopyMatch, CopySourcesParams, CopySourcesResult } from './copy-sources.ts';
import { makeDirectories } from './mkdir.ts';
import { type Owner, resolveOwner } from './owner.ts';

type CopyStore = Pick<Store, 'trees' | 'jobs' | 'paths'>;
/** A source with what it names. */
type Found = { readonly source: CopySource; readonly matches: readonly CopyMatch[]; readonly digest: string };

/** COPY and ADD: grafts what the sources name into the base. Nothing is copied but directory nodes. */
export class CopyExecutor implements Executor<CopyOperation> {
  readonly limit = 'files';
  readonly volatileTimes = false;
  readonly #store: CopyStore;
  readonly #archives: Pick<Archives, 'untar'>;

  constructor(options: { store: CopyStore; archives: Pick<Archives, 'untar'> }) {
    this.#store = options.store;
    this.#archives = options.archives;
  }

  async prepare(operation: CopyOperation, context: StepContext): Promise<Prepared> {
    const base = inputAt(context, 0);
    const found = await this.#find(operation, context);
    warnOfNothing(operation, found, context);
    const owner = operation.owner === undefined ? undefined : await this.#owner(operation.owner, base, context);
    const reads: Read[] = [
      { what: 'the base', digest: context.identity(base) },
      ...found.map(({ source, digest }) => ({
        what: source.path,
        // A selection's digest has no times; where they count, the whole source tree does.
        digest: context.timesCount ? inputAt(context, source.input).id : digest,
      })),
      ...(owner === undefined ? [] : [{ what: 'the owner', digest: `${owner.uid}:${owner.gid}` }]),
    ];
    return { reads, execute: (running) => this.#execute(operation, found, owner, running) };
  }

  async #owner(text: string, base: TreeRef, context: StepContext): Promise<Owner> {
    const owner = await resolveOwner(this.#store.trees, base.id, text);
    if (owner !== undefined) return owner;
    throw errorAt(context.vertex.place, 'InvalidArgument', 'OWNER_UNKNOWN', `--chown=${text}: no such user or group in the image`, {
      hint: 'Add it with RUN first, or give numbers.',
    });
  }

  /** One job for each input that sources come from. */
  async #find(operation: CopyOperation, context: StepContext): Promise<Found[]> {
    const inputs = [...new Set(operation.sources.map((source) => source.input))];
    const found = new Map<CopySource, Found>();
    for (const input of inputs) {
      const sources = operation.sources.filter((source) => source.input === input);
      const params: CopySourcesParams = {
        tree: inputAt(context, input).id,
        sources: sources.map(({ path, wildcard, unpack, parents }) => ({
          path: toBytes(path),
          wildcard,
          unpack,
          ...(parents === undefined ? {} : { parents: toBytes(parents) }),
        })),
        excludes: [...operation.excludes],
      };
      const result = await this.#store.jobs.run<CopySourcesResult>('build.copySources', params, { signal: context.signal });
      for (const [index, source] of sources.entries()) {
        const item = result.sources[index];
        if (item === undefined) throw new EngineError('Internal', 'COPY_SOURCES', 'a source of COPY was not looked for');
        if (item.missing) throw missing(source, context);
        found.set(source, { source, matches: item.matches, digest: item.digest });
      }
    }
    return operation.sources.flatMap((source) => found.get(source) ?? []);
  }

  async #execute(operation: CopyOperation, found: readonly Found[], owner: Owner | undefined, context: StepContext): Promise<TreeRef> {
    const base = inputAt(context, 0);
    const { signal, lease } = context;
    const edits = new CopyEdits(operation, owner, await this.#destinationType(operation, base, context));
    let tree = base;
    const flush = async () => {
      const list = edits.take();
      if (list.length > 0) tree = await this.#store.trees.edit(tree.id, list, { signal, lease });
    };
    for (const { source, matches } of found) {
      const from = await this.#withModes(operation, inputAt(context, source.input), matches, context);
      for (const match of matches) {
        if (match.archive === undefined) {
          edits.add(from, match);
          continue;
        }
        edits.extractHere();
        await flush();
        const at = toBytes(relative(operation.destination));
        tree = await this.#archives.untar(objectPath(this.#store.paths, match.archive), {
          what: source.path.slice(1),
          base: tree.id,
          at,
          chown: owner,
          signal,
          lease,
        });
      }
    }
    await flush();
    return tree;
  }

  /** The input that `--chmod=u+x` has been applied to, at the places that are copied. */
  async #withModes(
    operation: CopyOperation,
    input: TreeRef,
    matches: readonly CopyMatch[],
    { signal, lease }: StepContext,
  ): Promise<TreeId> {
    if (typeof operation.mode !== 'string') return input.id;
    const params: ChangeModesParams = { tree: input.id, paths: matches.map(({ path }) => path), change: operation.mode };
    return (await this.#store.jobs.run<TreeRef>('build.changeModes', params, { signal, lease })).id;
  }

  async #destinationType(operation: CopyOperation, base: TreeRef, context: StepContext): Promise<'directory' | 'other' | 'missing'> {
    const entry = await this.#store.trees.lookup(base.id, toBytes(relative(operation.destination)), { follow: true });
    if (entry === undefined) return 'missing';
    if (entry.type === EntryType.directory) return 'directory';
    if (!namesDirectory(operation.destination)) return 'other';
    throw errorAt(context.vertex.place, 'InvalidArgument', 'NOT_A_DIRECTORY', `${operation.destination} exists and is not a directory`, {
      hint: 'Remove that file first, or leave out the final slash.',
    });
  }
}

/** The edits of one COPY in order; knows what the destination has become after each. */
class CopyEdits {
  readonly #list: Edit[] = [];
  readonly #operation: CopyOperation;
  readonly #owner: Owner | undefined;
  readonly #destination: string;
  #isDirectory: boolean;

  constructor(operation: CopyOperation, owner: Owner | undefined, existing: 'directory' | 'other' | 'missing') {
    this.#operation = operation;
    this.#owner = owner;
    this.#destination = relative(operation.destination);
    this.#isDirectory = existing === 'directory' || namesDirectory(operation.destination);
    const parent = namesDirectory(operation.destination) ? this.#destination : posix.dirname(`/${this.#destination}`).slice(1);
    this.#makeDirectory(parent);
  }

  add(from: TreeId, match: CopyMatch): void {
    const contents = match.isDirectory;
    if (contents) {
      this.#makeDirectory(this.#destination);
      this.#isDirectory = true;
    }
    const dest = contents || !this.#isDirectory ? toBytes(this.#destination) : joinBytes(toBytes(this.#destination), match.name);
    this.#list.push({
      op: 'copy',
      from,
      source: match.path,
      dest,
      contents,
      chown: this.#owner,
      chmod: numericMode(this.#operation),
      ...(match.exclude.length > 0 ? { exclude: match.exclude } : {}),
    });
  }

  /** An archive's contents go into a directory, which Docker gives the owner but not the mode of --chmod. */
  extractHere(): void {
    this.#list.push(...makeDirectories(this.#destination, { mode: 0o755, ...this.#owner }));
    this.#isDirectory = true;
  }

  /** What is to be applied by now. */
  take(): readonly Edit[] {
    return this.#list.splice(0);
  }

  #makeDirectory(path: string): void {
    // As in BuildKit, the special bits of --chmod are for what is copied.
    const meta: Partial<Meta> = { mode: (numericMode(this.#operation) ?? 0o755) & 0o777, ...this.#owner };
    this.#list.push(...makeDirectories(path, meta));
  }
}

function numericMode({ mode }: CopyOperation): number | undefined {
  return typeof mode === 'number' ? mode : undefined;
}

function inputAt(context: StepContext, index: number): TreeRef {
  const input = context.inputs[index];
  if (input === undefined) throw new EngineError('InvalidArgument', 'GRAPH_INVALID', `vertex ${context.vertex.id} has no input ${index}`);
  return input;
}

function namesDirectory(path: string): boolean {
  return path.endsWith('/') || path.endsWith('/.');
}

/** Without leading slash and without a final `/` or `/.`. */
function relative(path: string): string {
  return path.replace(/\/\.?$/, '').replace(/^\/+/, '');
}

function joinBytes(directory: ByteString, name: ByteString): ByteString {
  return (directory === '' ? name : `${directory}/${name}`) as ByteString;
}

/** A wildcard may match nothing (`yarn.lock*`), as BuildKit has it; it is worth a word. */
function warnOfNothing(operation: CopyOperation, found: readonly Found[], context: StepContext): void {
  if (operation.excludes.length > 0) return;
  for (const { source, matches } of found) {
    if (matches.length === 0) context.onWarning(`${source.path.slice(1)} matches nothing and is left out`, source.place?.line);
  }
}

function missing(source: CopySource, context: StepContext): EngineError {
  const from = context.inputNames[source.input] ?? 'the source';
  const path = posix.join(source.path, source.parents ?? '');
  const what = `${path === '/' ? path : path.slice(1)} does not exist`;
  return errorAt(source.place ?? context.vertex.place, 'InvalidArgument', 'COPY_SOURCE_MISSING', `${what} in ${from}`, {
    hint: context.explainMissing(source.input, path),
  });
}
