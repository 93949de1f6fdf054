import type { ByteString } from '../base/bytes.ts';
import type { Digest, Hex } from '../oci/digest.ts';
import type { HistoryEntry, ImageConfig, Platform } from '../oci/image.ts';
import type { Entry, Meta, NodeDigests, Root, TreeId, TreeRef } from './model.ts';

/** Where things lie under the engine's root. All absolute host paths. */
export type StorePaths = {
  readonly root: string;
  readonly objects: string; // objects/ab/<62 hex>
  readonly inodes: string; // hardlink checkouts of the fallback snapshotter
  readonly blobs: string; // blobs/sha256/<64 hex>
  readonly erofs: string; // erofs/<tree>.img, derived
  readonly statCache: string;
  readonly snapshots: string; // snapshots/<id>/{upper,work}
  readonly containers: string;
  readonly volumes: string;
  readonly tmp: string; // emptied at start
  readonly database: string;
};

/**
 * What a job sees: synchronous, because it runs in a worker thread of its own where blocking is the fast way. Everything put is visible
 * to the job at once and to the rest of the engine when the job returns: the harness then makes objects durable and commits nodes and
 * roots in one transaction. A job that throws, or whose signal aborts, leaves nothing but files under `tmpDir`, which are removed.
 */
export interface TreeContext {
  readonly paths: StorePaths;
  /** This job's own folder, on the same file system as the objects; removed when the job ends, however it ends. */
  readonly tmpDir: string;
  /** Throws NotFound `TREE_NOT_FOUND`. */
  root(id: TreeId): Root;
  /** The entries of a directory, sorted by name. Cached for the job's life; never mutate it. */
  node(full: Hex): readonly Entry[];
  /** Entries in any order; throws InvalidArgument on a duplicate or invalid name (empty, `.`, `..`, with `/` or NUL). */
  putNode(entries: readonly Entry[]): NodeDigests;
  /** Only what the roots of a job reach is committed. */
  putRoot(root: Root): TreeRef;
  /** Stores bytes as an object. */
  putBytes(bytes: Uint8Array): { object: Hex; size: number };
  /** Stores the content of an open regular file from its start, holes kept, never whole in memory. */
  putFile(fd: number): { object: Hex; size: number };
  /** Stores a stream of chunks; `finish` names it, `abort` forgets it. */
  writeObject(): { write(chunk: Uint8Array): void; finish(): { object: Hex; size: number }; abort(): void };
  objectPath(object: Hex): string;
  /** Sends progress to the caller's `onProgress`. Structured-cloneable. */
  report(progress: unknown): void;
}

/** A unit of heavy work. `params` and the result cross a thread boundary: structured-cloneable. */
// biome-ignore lint/suspicious/noExplicitAny: params and results are typed by JobMap where jobs are called
export type Job = (context: TreeContext, params: any) => unknown | Promise<unknown>;

export type JobOptions = {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: unknown) => void) | undefined;
  lease?: Lease | undefined;
  /** `stream`: the job waits for a reader that may be slow or stand still, so it takes no thread from the others. `collect`: the collector's. `work` when not given. */
  lane?: 'work' | 'stream' | 'collect' | undefined;
};

export interface Jobs {
  /** Runs a job by name in a worker thread made on demand; aborting ends the thread. Errors arrive as EngineError. */
  run<R>(name: string, params: unknown, options?: JobOptions): Promise<R>;
}

/** One change to a tree. Paths are relative to its root, without leading slash; symlinks in a path's directories are followed inside the tree. */
export type Edit =
  /** Makes a directory and its missing parents (0755 of 0:0 unless `meta` says otherwise for the last). An existing directory is left as it is. */
  | { op: 'mkdir'; path: ByteString; meta?: Partial<Meta> | undefined }
  /**
   * Grafts `source` of tree `from` at `dest`, replacing a non-directory and merging into a directory as COPY does. `source` '' means the
   * content of the root. `contents` true: a directory's entries are put into `dest` (COPY dir/ dest/); false: the entry itself becomes `dest`.
   *
   * A symlink at the end of `dest` is followed, one at the end of `source` is copied as it is. Directories merge at any depth, and one that
   * is there takes the metadata of the copied one, but `dest` itself keeps its own with `contents`; a `dest` that is made gets the source
   * directory's. Conflict `COPY_TYPE_CONFLICT` where a directory would replace something else or the other way round. `chown` and `chmod`
   * reach everything copied (no symlink's mode) and `chown` the missing parents too. Hardlinks inside what is copied stay hardlinks.
   */
  | {
      op: 'copy';
      from: TreeId;
      source: ByteString;
      dest: ByteString;
      contents: boolean;
      chown?: { uid: number; gid: number } | undefined;
      chmod?: number | undefined;
      /** Paths below `source` to leave out, already resolved (COPY --exclude). */
      exclude?: readonly ByteString[] | undefined;
    }
  /** Removes a path and all below it; a symlink itself, not what it leads to. What is not there is no error. */
  | { op: 'remove'; path: ByteString }
  /** Puts a regular file (0644 of 0:0 at the epoch unless `meta` says otherwise) in place of what is there; a directory is a Conflict. */
  | { op: 'file'; path: ByteString; data: Uint8Array; meta?: Partial<Meta> | undefined };

/** `before` and `after` are the entries; their names are the last part of `path`. */
export type Change = { kind: 'added' | 'modified' | 'deleted'; path: ByteString; before?: Entry | undefined; after?: Entry | undefined };

export type IngestParams = {
  /** Host directory. */
  path: string;
  /** Lines of a .dockerignore (already read); the matcher is oci/ignore.ts. */
  ignore?: readonly string[] | undefined;
  /** Names the stat cache to use and to write anew; usually the path. */
  statCache?: string | undefined;
  /** Overwrites owners (a build context is 0:0). */
  owner?: { uid: number; gid: number } | undefined;
  /** `first`: entries whose content equals this earlier tree's adopt its times. */
  adopt?: TreeId | undefined;
  /** Capabilities, POSIX ACLs and `user.*` are read unless this is false; labels of the host's security modules never. */
  xattrs?: boolean | undefined;
};

export type IngestResult = TreeRef & { files: number; directories: number; bytes: number; hashedFiles: number; hashedBytes: number };

export interface Trees {
  readonly empty: TreeRef;
  /** Reads a host directory. Conflict `FILE_CHANGED` when a file will not hold still; InvalidArgument `DEVICE_ZERO` for a character device 0:0. */
  ingest(params: IngestParams, options?: JobOptions): Promise<IngestResult>;
  edit(base: TreeId, edits: readonly Edit[], options?: JobOptions): Promise<TreeRef>;
  /** Applies `upper` over `lower` (both trees; whiteouts already resolved): directories merge, everything else replaces. */
  merge(lower: TreeId, upper: TreeId, options?: JobOptions): Promise<TreeRef>;
  /**
   * All paths that differ, in the order of a walk; a directory that came or went is followed by everything below it. `compare` 'content' leaves
   * times out. A directory is `modified` for its own metadata only. Names that joined or left an inode count as modified.
   */
  diff(before: TreeId, after: TreeId, options?: JobOptions & { compare?: 'full' | 'content' }): Promise<Change[]>;
  /** Entries that equal `earlier` in content take its times; the tree `earlier` itself when nothing else differs. */
  adopt(tree: TreeId, earlier: TreeId, options?: JobOptions): Promise<TreeRef>;
  /** The content digest of a selection of paths, and of everything below them. Missing paths count too. */
  selectionDigest(tree: TreeId, paths: readonly ByteString[], options?: JobOptions): Promise<Hex>;
  /**
   * `follow`: resolve a symlink at the end too; symlinks on the way are always followed inside the tree. The root is given as a directory
   * entry of the name ''. InvalidArgument `LINK_LOOP`.
   */
  lookup(tree: TreeId, path: ByteString, options?: { follow?: boolean }): Promise<Entry | undefined>;
  /** The entries of a directory, sorted; a symlink to one is followed. NotFound `PATH_NOT_FOUND`. */
  list(tree: TreeId, path: ByteString): Promise<readonly Entry[]>;
  /** A regular file's bytes, at most `limit` (default 16 MiB, then InvalidArgument). */
  readFile(tree: TreeId, path: ByteString, options?: { limit?: number }): Promise<Buffer>;
  /** Writes the tree as files below an empty host directory. */
  checkout(tree: TreeId, directory: string, options?: JobOptions): Promise<void>;
  /** From the metadata, without a walk. `bytes` counts a hardlink group once; `directories` leaves the root out. */
  stat(tree: TreeId): Promise<{ files: number; directories: number; bytes: number }>;
  get(id: TreeId): Promise<Root>;
  /** The first tree committed with that content. */
  findByContent(content: Hex): Promise<TreeRef | undefined>;
}

/** The manifest that an image came with or was pushed as, kept so that what is saved or pushed unchanged has the same manifest digest. */
export type ImageOrigin = {
  manifestDigest: Digest;
  manifestMediaType: string;
  configDigest: Digest;
  /** The index that the tag named, its bytes a blob here: other platforms, and the chunked form. */
  index?:
    | {
        digest: Digest;
        mediaType: string;
        /** What a build stated about the image lies in it, and goes wherever the image goes. */
        attested?: true | undefined;
      }
    | undefined;
  layers: { digest: Digest; diffId: Digest; sizeBytes: number; mediaType: string }[];
};

/** Every blob that it names: manifest, config, index, layers. */
export function blobsOf({ manifestDigest, configDigest, index, layers }: ImageOrigin): Digest[] {
  return [manifestDigest, configDigest, ...(index === undefined ? [] : [index.digest]), ...layers.map((layer) => layer.digest)];
}

export type ImageRecord = {
  /** Digest of the record: config without rootfs and history, and root tree. */
  id: Digest;
  /** Without rootfs and history. */
  config: ImageConfig;
  tree: TreeId;
  treeContent: Hex;
  history: readonly HistoryEntry[];
  /** Sum of file bytes. */
  sizeBytes: number;
  createdAtMs: number;
  origin?: ImageOrigin | undefined;
  /** The root tree after each history entry that is not `empty_layer`, where the build kept them; the last is `tree`. */
  steps?: readonly TreeId[] | undefined;
  /** Of an image that was built for several platforms: each of them. The record's own config and tree are those of one, this host's where it is among them. Its origin has their index. */
  platforms?: readonly ImagePlatform[] | undefined;
};

/** Every tree that an image needs: its own, those of its steps, and those of each platform. */
export function treesOf({ tree, steps = [], platforms = [] }: Pick<ImageRecord, 'tree' | 'steps' | 'platforms'>): TreeId[] {
  return [tree, ...steps, ...platforms.flatMap((platform) => [platform.tree, ...(platform.steps ?? [])])];
}

/** One platform's image inside another: what a record of its own would have. */
export type ImagePlatform = Omit<ImageRecord, 'origin' | 'platforms'>;

/** `references` are canonical (`docker.io/library/web:latest`). */
export type ImageListing = { record: ImageRecord; references: string[]; lastUsedAtMs: number };

/** What an image is made of. */
export type ImageParts = {
  config: ImageConfig;
  tree: TreeRef;
  history?: readonly HistoryEntry[];
  origin?: ImageOrigin | undefined;
  steps?: readonly TreeId[] | undefined;
  platforms?: readonly ImagePlatform[] | undefined;
};

export interface Images {
  create(image: ImageParts): Promise<ImageRecord>;
  /** The record that `create` would make. It is in no list, and nothing finds it. */
  describe(image: ImageParts): Promise<ImageRecord>;
  /**
   * The image for that platform: the record itself, one of its `platforms` (which gets a record of its own), or another image that came out of the same index. Undefined when there is none here.
   */
  forPlatform(image: ImageRecord, wanted: Platform): Promise<ImageRecord | undefined>;
  /** What it was pushed as takes the place of what it came with. NotFound `IMAGE_NOT_FOUND`. */
  setOrigin(id: Digest, origin: ImageOrigin): Promise<void>;
  /** By canonical or familiar reference, full or abbreviated id. NotFound `IMAGE_NOT_FOUND`; InvalidArgument `IMAGE_AMBIGUOUS`. */
  resolve(name: string): Promise<ImageRecord>;
  /** Canonical, sorted. */
  references(id: Digest): Promise<string[]>;
  /** `reference` in any form; stored canonical with a tag. Moves an existing tag. */
  tag(reference: string, id: Digest): Promise<void>;
  untag(reference: string): Promise<boolean>;
  list(): Promise<ImageListing[]>;
  /** Removes the record; its trees stay until collected. Conflict when references remain, unless forced. */
  remove(id: Digest, options?: { force?: boolean }): Promise<void>;
}

export interface Blobs {
  path(digest: Digest): string;
  has(digest: Digest): Promise<boolean>;
  /** Streams into a temporary file, checks digest and size, makes it durable, then visible. */
  put(
    source: AsyncIterable<Uint8Array>,
    expected?: { digest?: Digest; sizeBytes?: number },
    options?: { signal?: AbortSignal },
  ): Promise<{ digest: Digest; sizeBytes: number }>;
  read(digest: Digest): AsyncIterable<Uint8Array>;
  /** Every blob's digest. */
  list(): Promise<Digest[]>;
  /**
   * For the collector: gives those that went. One stays when somebody looked for it within the last minutes, or leased it; or, unless `though` is
   * `named`, when an image or a layer names it.
   */
  remove(digests: readonly Digest[], options?: { though?: 'named' }): Promise<Digest[]>;
}

/**
 * A layer whose entries are known, whether its blob is here or not. `tree` is the layer's own tree, as its tar has it: deletions are empty files named
 * `.wh.NAME` and `.wh..wh..opq` (image-spec layer.md, "Whiteouts").
 */
export type KnownLayer = {
  digest: Digest;
  diffId: Digest;
  mediaType: string;
  sizeBytes: number;
  tree: TreeId;
  /** Directories that the tar never names and that are there for what lies in them: their metadata is that of the layers below. Sorted. */
  implied: readonly ByteString[];
  /** The blob that says where the layer's compression frames and chunks are (docs/formats/chunked.md), when it was made that way. */
  table?: { digest: Digest; sizeBytes: number } | undefined;
};

export interface Layers {
  /** By the digest of the blob. */
  get(digest: Digest): Promise<KnownLayer | undefined>;
  /** Every blob known with that content, whatever its compression. */
  byDiffId(diffId: Digest): Promise<KnownLayer[]>;
  /** Its tree must be committed. Kept as it is when it is there, but a table is added. */
  put(layer: KnownLayer): Promise<void>;
  /** Repositories (`registry.example:5000/team/web`) where a blob has been seen, latest first; a registry may since have dropped it. */
  sources(blob: Digest): Promise<string[]>;
  addSources(repository: string, blobs: readonly Digest[]): Promise<void>;
  /** It was not there after all. */
  removeSource(repository: string, blob: Digest): Promise<void>;
}

/** A claim that keeps things from the collector; expires by itself; survives a crash until then. */
export interface Lease extends AsyncDisposable {
  readonly id: string;
  /** NotFound `TREE_NOT_FOUND` for a tree that is gone. */
  add(kind: 'tree' | 'image' | 'blob', key: string): Promise<void>;
  /** False for a tree that is gone: what was remembered of it counts as nothing. */
  tryAdd(tree: TreeId): Promise<boolean>;
  release(): Promise<void>;
}

export interface Leases {
  acquire(options: { purpose: string; ttlMs?: number }): Promise<Lease>;
}

export type UseKind = 'image' | 'action' | 'tree';

/** Last real use: of an image by a start or a build, of a cache entry by a hit. Kept over restarts. */
export interface Uses {
  touch(kind: UseKind, key: string): Promise<void>;
  last(kind: UseKind, key: string): Promise<number | undefined>;
}

/** The build's action cache: an immutable map from a key to an output. */
export type ActionOutput = { tree: TreeRef; detail?: Record<string, unknown> | undefined };
export interface Actions {
  get(key: Hex): Promise<ActionOutput | undefined>;
  put(key: Hex, output: ActionOutput): Promise<void>;
}

/** What a sweep removed. `bytes` is what the objects took on disk. */
export type Sweep = { trees: number; nodes: number; objects: number; blobs: number; bytes: number };

/** Takes away what no image, layer, result of a build, lease or job refers to any more. */
export interface Sweeper {
  /**
   * `kept` gives further trees that stay: those of snapshots and mounts. `share`: at most this part of the time is spent removing, so that other work
   * gets the disk. Aborted at any time, it leaves a whole store; the next one goes on.
   */
  sweep(options?: {
    kept?: (() => Promise<readonly TreeId[]>) | undefined;
    share?: number | undefined;
    signal?: AbortSignal | undefined;
    onProgress?: ((progress: Sweep) => void) | undefined;
  }): Promise<Sweep>;
  /** Removes results of builds but those used after `sinceMs`; false when one of them was. */
  forgetResults(keys: readonly Hex[], sinceMs: number): Promise<boolean>;
  forgetLayer(digest: Digest): Promise<void>;
}

export interface Store extends AsyncDisposable {
  readonly paths: StorePaths;
  readonly jobs: Jobs;
  readonly trees: Trees;
  readonly images: Images;
  readonly blobs: Blobs;
  readonly layers: Layers;
  readonly leases: Leases;
  readonly uses: Uses;
  readonly actions: Actions;
  readonly sweeper: Sweeper;
  close(): Promise<void>;
}
