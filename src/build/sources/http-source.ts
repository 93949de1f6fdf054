import { randomUUID } from 'node:crypto';
import { mkdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { sha256 } from '../../oci/digest.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { Archives } from '../../transport/port.ts';
import type { HttpOperation } from '../graph/vertex.ts';
import { canonical } from '../solver/keys.ts';
import { type Download, download, shownUrl } from './download.ts';
import { type Fetched, FetchedUrls } from './fetched.ts';

type HttpStore = Pick<Store, 'trees' | 'actions' | 'uses' | 'paths'>;
export type SourceOptions = { readonly signal: AbortSignal; readonly lease: Lease };
/** `fetched` is false when nothing had to be downloaded. */
export type SourceTree = {
  readonly tree: TreeRef;
  readonly fetched: boolean;
  readonly bytes?: number | undefined;
  /** What it is, by algorithm (in-toto "DigestSet"): the bytes of a URL, the commit of a repository. */
  readonly digest: Readonly<Record<string, string>>;
};

const defaultLimitBytes = 64 * 1024 ** 3;

/**
 * Files from http(s) servers, as trees. With a checksum that is known nothing is asked for at all; otherwise the server is asked each time whether what it gave
 * is still so (ETag, Last-Modified). The tree of the same bytes under the same name is the same tree.
 */
export class HttpSource {
  readonly #store: HttpStore;
  readonly #archives: Pick<Archives, 'untar'>;
  readonly #fetched: FetchedUrls;
  readonly #limitBytes: number;

  constructor(options: { store: HttpStore; archives: Pick<Archives, 'untar'>; directory: string; limitBytes?: number | undefined }) {
    this.#store = options.store;
    this.#archives = options.archives;
    this.#fetched = new FetchedUrls(options.directory);
    this.#limitBytes = options.limitBytes ?? defaultLimitBytes;
  }

  async tree(operation: HttpOperation, options: SourceOptions): Promise<SourceTree> {
    const { checksum } = operation;
    if (checksum !== undefined) {
      const known = await this.#known(operation, checksum, options);
      if (known !== undefined) return { tree: known, fetched: false, digest: digestSet(checksum) };
    }
    const earlier = await this.#fetched.get(operation.url);
    const earlierTree = earlier === undefined ? undefined : await this.#known(operation, earlier.digest, options);
    const folder = join(this.#store.paths.tmp, `http-${randomUUID()}`);
    const content = join(folder, 'content');
    await mkdir(content, { recursive: true, mode: 0o755 });
    try {
      const file = join(content, operation.filename);
      const known = checksum === undefined && earlierTree !== undefined ? earlier : undefined;
      const algorithm = checksum?.split(':', 1)[0] ?? 'sha256';
      const algorithms = algorithm === 'sha256' ? [] : [algorithm];
      const made = await download(operation.url, file, { signal: options.signal, known, algorithms, limitBytes: this.#limitBytes });
      if (made.kind === 'unchanged') {
        if (earlierTree === undefined) throw new EngineError('Internal', 'SOURCE_INVALID', 'nothing was asked to be unchanged');
        return { tree: earlierTree, fetched: false, digest: digestSet(earlier?.digest ?? '') };
      }
      refuseOther(operation, made, algorithm);
      return {
        tree: await this.#keep(operation, made, content, file, options),
        fetched: true,
        bytes: made.sizeBytes,
        digest: digestSet(made.digests.get('sha256') ?? ''),
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #keep(
    operation: HttpOperation,
    made: Extract<Download, { kind: 'downloaded' }>,
    content: string,
    file: string,
    { signal, lease }: SourceOptions,
  ): Promise<TreeRef> {
    const digest = made.digests.get('sha256') ?? '';
    const lastModified = Date.parse(made.validators.lastModified ?? '');
    const seconds = Number.isNaN(lastModified) ? 0 : Math.floor(lastModified / 1000);
    await utimes(file, seconds, seconds);
    await utimes(content, 0, 0);
    const owner = { uid: 0, gid: 0 };
    const ingested =
      operation.unpack === true
        ? await this.#archives.untar(file, { what: shownUrl(operation.url), chown: owner, signal, lease })
        : await this.#store.trees.ingest({ path: content, owner }, { signal, lease });
    const tree: TreeRef = { id: ingested.id, content: ingested.content };
    for (const name of new Set([digest, operation.checksum ?? digest])) await this.#remember(operation, name, tree);
    const fetched: Fetched = { url: operation.url, digest, ...made.validators };
    await this.#fetched.put(fetched);
    return tree;
  }

  async #known(operation: HttpOperation, digest: string, { lease }: SourceOptions): Promise<TreeRef | undefined> {
    const key = sourceKey(operation, digest);
    const output = await this.#store.actions.get(key);
    if (output === undefined || !(await lease.tryAdd(output.tree.id))) return undefined;
    await this.#store.uses.touch('action', key);
    return output.tree;
  }

  /** Entries never change; the first tree of these bytes stays the one. */
  async #remember(operation: HttpOperation, digest: string, tree: TreeRef): Promise<void> {
    const key = sourceKey(operation, digest);
    if ((await this.#store.actions.get(key)) === undefined) await this.#store.actions.put(key, { tree });
  }
}

function digestSet(digest: string): SourceTree['digest'] {
  const [algorithm = '', hex = ''] = digest.split(':');
  return { [algorithm]: hex };
}

function sourceKey({ filename, unpack = false }: HttpOperation, digest: string) {
  return sha256(canonical(['slipway-source-1', 'http', { digest, filename, unpack }]));
}

function refuseOther({ url, checksum }: HttpOperation, { digests }: Extract<Download, { kind: 'downloaded' }>, algorithm: string): void {
  const actual = digests.get(algorithm);
  if (checksum === undefined || actual === checksum) return;
  throw new EngineError(
    'InvalidArgument',
    'SOURCE_DIGEST_MISMATCH',
    `${shownUrl(url)} is not what --checksum says: expected ${checksum}, got ${actual}`,
    {
      hint: 'When the new content is the right one, change the checksum.',
    },
  );
}
