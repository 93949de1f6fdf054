import {
  chmodSync,
  copyFileSync,
  lchownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { toBytes, toText } from '../../src/base/bytes.ts';
import type { CachePolicy } from '../../src/build/cache/speed.ts';
import { BuildEngine } from '../../src/build/engine.ts';
import type { BuildEvent, BuildRequest, BuildResult } from '../../src/build/port.ts';
import { emptyImageConfig } from '../../src/oci/config.ts';
import type { ImageConfig } from '../../src/oci/image.ts';
import type { StepRunner } from '../../src/runtime/port.ts';
import { ErofsOverlaySnapshotter } from '../../src/snapshot/drivers/erofs-overlay.ts';
import { type Entry, EntryType, type TreeId } from '../../src/store/model.ts';
import type { Store } from '../../src/store/port.ts';
import { ArchiveService } from '../../src/transport/archives/service.ts';
import { StoreTreeCollections } from '../../src/transport/collections/service.ts';
import { StoreImageJoiner } from '../../src/transport/platforms/joiner.ts';
import { ChrootSteps } from './chroot-steps.ts';
import { openStoreForTest } from './store.ts';
import { transportParts } from './transport.ts';

/** A context's file: its text, or more about it. Paths that end in `/` are directories. */
export type FileSpec =
  | string
  | Buffer
  | { text?: string | Buffer; mode?: number; link?: string; hardlink?: string; uid?: number; gid?: number; mtime?: number };
export type Files = Record<string, FileSpec>;

export type BuildOutcome = BuildResult & { events: BuildEvent[]; ran: string[]; cached: string[]; output: string };

/** A build engine over a store of its own, with everything that it makes on disk removed at the end. */
export type BuildBench = AsyncDisposable & {
  readonly store: Store;
  readonly engine: BuildEngine;
  readonly steps: ChrootSteps;
  readonly folder: string;
  /** Makes a context folder. */
  context(name: string, files: Files): string;
  build(
    dockerfile: string,
    files?: Files,
    request?: Partial<BuildRequest> & { signal?: AbortSignal; onEvent?: (event: BuildEvent) => void },
  ): Promise<BuildOutcome>;
  /** Makes an image of files, `busybox` in it when asked for. */
  image(name: string, files: Files, config?: ImageConfig['config'], busybox?: boolean): Promise<TreeId>;
  /** `type path mode uid:gid [content]`, one line an entry. */
  list(tree: TreeId): Promise<string[]>;
  text(tree: TreeId, path: string): Promise<string>;
};

export async function openBuilds(
  options: { steps?: StepRunner; httpLimitBytes?: number; policy?: CachePolicy; directory?: string } = {},
): Promise<BuildBench> {
  process.umask(0o022);
  const folder = mkdtempSync(join(options.directory ?? tmpdir(), 'slipway-build-'));
  const store = await openStoreForTest({ root: join(folder, 'root'), jobIdleMs: 500 });
  const steps = new ChrootSteps();
  const snapshotter = new ErofsOverlaySnapshotter({ store, runDirectory: join(folder, 'run') });
  const parts = transportParts(store);
  const engine = new BuildEngine({
    store,
    snapshotter,
    steps: options.steps ?? steps,
    archives: new ArchiveService(parts),
    joiner: new StoreImageJoiner(parts),
    sharing: {
      collections: new StoreTreeCollections(store),
      registries: parts.registries,
      ...(options.policy === undefined ? {} : { policy: options.policy }),
    },
    memoryDirectory: join(folder, 'memory'),
    httpLimitBytes: options.httpLimitBytes,
  });
  let contexts = 0;

  const bench: BuildBench = {
    store,
    engine,
    steps,
    folder,
    context(name, files) {
      const path = join(folder, 'contexts', name);
      rmSync(path, { recursive: true, force: true });
      mkdirSync(path, { recursive: true });
      writeFiles(path, files);
      return path;
    },
    async build(dockerfile, files = {}, { signal, onEvent, ...request } = {}) {
      const path = request.context === undefined ? bench.context(`c${contexts++}`, files) : undefined;
      const events: BuildEvent[] = [];
      const result = await engine.build(
        {
          context: { kind: 'directory', path: path ?? '' },
          dockerfile: { text: dockerfile, name: 'Dockerfile' },
          buildArgs: {},
          labels: {},
          tags: [],
          noCache: false,
          timestamps: 'first',
          output: { kind: 'image' },
          ...request,
        },
        {
          onEvent: (event) => {
            events.push(event);
            onEvent?.(event);
          },
          ...(signal === undefined ? {} : { signal }),
        },
      );
      return { ...result, events, ...summarise(events) };
    },
    async image(name, files, config = {}, busybox = false) {
      const path = bench.context('image', files);
      if (busybox) {
        mkdirSync(join(path, 'bin'), { recursive: true });
        copyFileSync('/bin/busybox', join(path, 'bin/busybox'));
        for (const applet of [
          'sh',
          'cat',
          'echo',
          'ls',
          'mkdir',
          'rm',
          'touch',
          'chmod',
          'sleep',
          'true',
          'false',
          'env',
          'date',
          'mv',
          'ln',
          'pwd',
          'stat',
          'id',
          'chown',
          'test',
          'cp',
          'head',
          'tr',
        ]) {
          symlinkSync('busybox', join(path, 'bin', applet));
        }
      }
      const tree = await store.trees.ingest({ path });
      const image = await store.images.create({ config: { ...emptyImageConfig(), config }, tree });
      await store.images.tag(name, image.id);
      return tree.id;
    },
    list: (tree) => listTree(store, tree),
    async text(tree, path) {
      return (await store.trees.readFile(tree, toBytes(path))).toString('utf8');
    },
    async [Symbol.asyncDispose]() {
      for (const id of await snapshotter.list()) await snapshotter.remove(id);
      await snapshotter.close();
      await store.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return bench;
}

export function writeFiles(path: string, files: Files): void {
  for (const [name, spec] of Object.entries(files)) {
    const file = join(path, name);
    const details = typeof spec === 'string' || Buffer.isBuffer(spec) ? { text: spec } : spec;
    if (name.endsWith('/')) mkdirSync(file, { recursive: true });
    else {
      mkdirSync(dirname(file), { recursive: true });
      if (details.link !== undefined) symlinkSync(details.link, file);
      else if (details.hardlink !== undefined) linkSync(join(path, details.hardlink), file);
      else writeFileSync(file, details.text ?? '');
    }
    if (details.uid !== undefined || details.gid !== undefined) lchownSync(file, details.uid ?? 0, details.gid ?? 0);
    // Last, since a change of owner takes setuid away.
    if (details.mode !== undefined) chmodSync(file, details.mode);
    if (details.mtime !== undefined) utimesSync(file, details.mtime, details.mtime);
  }
}

function summarise(events: readonly BuildEvent[]): { ran: string[]; cached: string[]; output: string } {
  const names = (state: string) =>
    events.flatMap((event) =>
      event.kind === 'vertex' && event.state === state && /^\[|^set times/.test(event.name) ? [event.name.replace(/^\[.*?\] /, '')] : [],
    );
  const output = events.map((event) => (event.kind === 'output' ? event.data.toString() : '')).join('');
  return { ran: names('done'), cached: names('cached'), output };
}

async function listTree(store: Store, tree: TreeId): Promise<string[]> {
  const lines: string[] = [];
  const visit = async (path: string) => {
    for (const entry of await store.trees.list(tree, toBytes(path))) {
      const below = path === '' ? toText(entry.name) : `${path}/${toText(entry.name)}`;
      lines.push(`${letter(entry)} ${below} ${entry.mode.toString(8)} ${entry.uid}:${entry.gid}${await detail(store, tree, below, entry)}`);
      if (entry.type === EntryType.directory) await visit(below);
    }
  };
  await visit('');
  return lines;
}

function letter(entry: Entry): string {
  return { 1: 'f', 2: 'd', 3: 'l', 4: 'c', 5: 'b', 6: 'p' }[entry.type];
}

async function detail(store: Store, tree: TreeId, path: string, entry: Entry): Promise<string> {
  if (entry.type === EntryType.symlink) return ` -> ${toText(entry.target)}`;
  if (entry.type !== EntryType.file) return '';
  if (entry.size > 200) return ` ${entry.size} bytes`;
  return ` ${JSON.stringify((await store.trees.readFile(tree, toBytes(path))).toString('utf8'))}`;
}
