import { posix } from 'node:path';
import { toBytes, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { ContextPath, ContextSource, ContextTree } from '../../build/port.ts';
import { EntryType, type TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { Session } from '../session/sessions.ts';
import type { FileSelection } from './metadata.ts';
import type { SessionFiles } from './session-files.ts';

/** A definition or an ignore file is text for people; more than this is a mistake. */
const textLimit = 4 * 1024 * 1024;

export interface TransferProgress {
  /** The files that describe the build come in a step of their own. */
  step<T>(name: string, run: (report: (status: string, receivedBytes: number) => void) => Promise<T>): Promise<T>;
  /** The context comes in a step that the builder tells of. */
  context(receivedBytes: number): void;
}

export type SessionContextOptions = {
  session: Session;
  files: SessionFiles;
  store: Pick<Store, 'trees'>;
  /** Names under which the client offers the folder of the Dockerfile and that of the context. A context without a Dockerfile has none of the former. */
  dockerfileName: string | undefined;
  contextName: string;
  lease: Lease;
  /** Content that is known takes the times of when it first came. */
  adopt: boolean;
  signal: AbortSignal;
  progress: TransferProgress;
};

/** A build context that the client sends over its session, and of that only what the build reads. */
export class SessionContext implements ContextSource {
  readonly #options: SessionContextOptions;
  #definitions: Promise<TreeRef> | undefined;
  #ignores: Promise<TreeRef> | undefined;

  constructor(options: SessionContextOptions) {
    this.#options = options;
  }

  /** `.dockerignore` lies in the context, the Dockerfile and what is named after it in a folder of their own. */
  async readText(path: string): Promise<string | undefined> {
    const { contextName } = this.#options;
    const clean = relative(path);
    // Both are wanted in nearly every build: asked for at once, they cost one round trip.
    this.#definitions ??= this.#loadDefinitions(clean);
    this.#ignores ??= this.#small('transferring context:', 'load .dockerignore', {
      kind: 'ignore',
      name: contextName,
      followPaths: ['.dockerignore'],
    });
    if (clean === '.dockerignore') return this.#text(await this.#ignores, clean);
    if (this.#definitions === undefined) return undefined;
    const definitions = await this.#definitions;
    const text = await this.#text(definitions, clean);
    // Docker takes `dockerfile` for the default name as well.
    if (text !== undefined || posix.basename(clean) !== 'Dockerfile') return text;
    return this.#text(definitions, posix.join(posix.dirname(clean), 'dockerfile'));
  }

  async siblings(path: string): Promise<readonly string[]> {
    if (this.#definitions === undefined) return [];
    const { id } = await this.#definitions;
    const entries = await this.#options.store.trees.list(id, toBytes(relative(posix.dirname(`/${relative(path)}`)))).catch(() => []);
    return entries.map((entry) => toText(entry.name));
  }

  /** The client has applied the ignore lines; what is not in the tree was not sent. */
  exists(): boolean {
    return false;
  }

  async tree(paths: readonly ContextPath[], { ignore, signal }: { ignore: readonly string[]; signal: AbortSignal }): Promise<ContextTree> {
    const { contextName, files, session, lease, store, adopt } = this.#options;
    const received = await files.receive(
      session,
      { kind: 'context', name: contextName, followPaths: followPaths(paths), excludePatterns: excludePatterns(ignore) },
      { lease, signal, onProgress: (bytes) => this.#options.progress.context(bytes) },
    );
    this.#options.progress.context(received.receivedBytes);
    const equal = adopt ? await store.trees.findByContent(received.content) : undefined;
    const tree: TreeRef = equal !== undefined && (await lease.tryAdd(equal.id)) ? equal : { id: received.id, content: received.content };
    await lease.add('tree', tree.id);
    return { tree, files: received.files, bytes: received.bytes, hashedFiles: received.receivedFiles };
  }

  #loadDefinitions(path: string): Promise<TreeRef> | undefined {
    const { dockerfileName } = this.#options;
    if (dockerfileName === undefined) return undefined;
    return this.#small('transferring dockerfile:', `load build definition from ${posix.basename(path)}`, {
      kind: 'definition',
      name: dockerfileName,
      followPaths: definitionPaths(path),
    });
  }

  #small(status: string, step: string, selection: FileSelection): Promise<TreeRef> {
    const { files, session, lease, signal, progress } = this.#options;
    const received = progress.step(step, async (report) => {
      const result = await files.receive(session, selection, { lease, signal });
      report(status, result.receivedBytes);
      return result;
    });
    // Whoever reads it sees the failure.
    received.catch(() => undefined);
    return received;
  }

  async #text({ id }: TreeRef, path: string): Promise<string | undefined> {
    const { trees } = this.#options.store;
    const bytes = toBytes(path);
    const entry = await trees.lookup(id, bytes, { follow: true });
    if (entry === undefined) return undefined;
    if (entry.type !== EntryType.file) {
      throw new EngineError('InvalidArgument', 'CONTEXT_FILE_INVALID', `${path} in the build context is not a file`);
    }
    return (await trees.readFile(id, bytes, { limit: textLimit })).toString('utf8');
  }
}

function definitionPaths(path: string): string[] {
  const paths = [path, `${path}.dockerignore`];
  if (posix.basename(path) === 'Dockerfile') paths.push(posix.join(posix.dirname(path), 'dockerfile'));
  return paths;
}

/** Undefined where a step takes all there is. */
function followPaths(paths: readonly ContextPath[]): string[] | undefined {
  const clean = new Set(paths.map(({ path }) => relative(path)));
  return clean.size === 0 || clean.has('') ? undefined : [...clean].sort();
}

/** The lines as patterns (moby/patternmatcher, ignorefile): without comments, trimmed, clean, relative. */
function excludePatterns(lines: readonly string[]): string[] {
  return lines.flatMap((line, index) => {
    const text = (index === 0 ? line.replace(/^\u{feff}/u, '') : line).trimEnd();
    if (text.startsWith('#')) return [];
    const negated = text.trim().startsWith('!');
    const pattern = (negated ? text.trim().slice(1) : text).trim();
    if (pattern === '') return [];
    const clean = posix
      .normalize(pattern.replaceAll(/\/+/g, '/'))
      .replace(/(.)\/$/, '$1')
      .replace(/^\/(.)/, '$1');
    return [negated ? `!${clean}` : clean];
  });
}

function relative(path: string): string {
  return posix.join('/', path).replace(/^\/+/, '').replace(/\/+$/, '');
}
