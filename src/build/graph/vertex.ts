import type { TreeRef } from '../../store/model.ts';

/**
 * A build as data: operations over trees, each with one tree as output. A frontend (a Dockerfile, later others) writes it, the solver runs
 * it; nothing in it is a function or a host path, so it can be written as JSON. Vertices stand after the ones they need.
 */
export type Graph = { readonly version: 1; readonly vertices: readonly Vertex[] };

/** Unique in its graph. Never part of a key. */
export type VertexId = string;

export type Vertex = {
  readonly id: VertexId;
  /** For people: `[build 2/5] RUN npm ci`. */
  readonly name: string;
  /** Which step this is from build to build, however its inputs change; ties a result to the one before it. Not part of a key. */
  readonly lineage: string;
  readonly inputs: readonly VertexId[];
  readonly operation: Operation;
  /** Where it was written, for errors. */
  readonly place?: Place | undefined;
  /** Always run, whatever is cached. */
  readonly noCache?: boolean | undefined;
  /** How long it may take, once it runs; then it fails. Not part of a key. */
  readonly timeoutMs?: number | undefined;
  /** How often it is tried again when it fails. Not part of a key. */
  readonly retries?: number | undefined;
  /** A result that is older than this when it is looked up counts as none. Not part of a key. */
  readonly cacheTtlMs?: number | undefined;
};

/** A place in a definition file, with the line's text so that an error can show it. Lines and columns from 1. */
export type Place = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly length?: number | undefined;
  readonly text: string;
};

export type Operation =
  | SourceOperation
  | CopyOperation
  | MkdirOperation
  | RunOperation
  | ClampOperation
  | MergeOperation
  | DifferenceOperation;

/** Vertices without inputs. */
export type SourceOperation = ScratchOperation | ImageOperation | ContextOperation | InlineOperation | HttpOperation | GitOperation;

export type ScratchOperation = { readonly kind: 'scratch' };

/** An image's tree. The frontend has resolved `reference`, since it needs the config; the tree is what counts. */
export type ImageOperation = { readonly kind: 'image'; readonly reference: string; readonly tree: TreeRef };

/** A named set of files that came with the request; the request says what it is. */
export type ContextOperation = { readonly kind: 'context'; readonly name: string };

/** Small files written in the definition itself (heredocs). */
export type InlineOperation = {
  readonly kind: 'inline';
  readonly files: readonly { readonly path: string; readonly text: string; readonly mode: number }[];
};

/** A file from the network, alone in its tree as `/<filename>`: 0600 and of 0:0, its time as the server says. */
export type HttpOperation = {
  readonly kind: 'http';
  readonly url: string;
  readonly filename: string;
  /** `sha256:…`; anything else that comes is an error. */
  readonly checksum?: string | undefined;
  /** The tree is what the file, an archive, holds. */
  readonly unpack?: boolean | undefined;
};

/** A commit of a git repository, checked out. */
export type GitOperation = {
  readonly kind: 'git';
  /** Anything that git itself takes as a remote, without fragment and query. */
  readonly remote: string;
  /** Branch, tag, full ref or commit; the remote's HEAD when not given. */
  readonly ref?: string | undefined;
  readonly subdirectory?: string | undefined;
  readonly keepGitDirectory: boolean;
  readonly submodules: boolean;
  /** What the commit's digest has to begin with. */
  readonly checksum?: string | undefined;
};

/** One source of a copy, from the vertex's input number `input` (0 is what is copied into). */
export type CopySource = {
  readonly input: number;
  /** Absolute inside the input. */
  readonly path: string;
  /** `*`, `?`, `[…]` and `\` mean what they mean to Go's filepath.Match. */
  readonly wildcard: boolean;
  /** What is copied of the directory `path`, with the directories on the way: a pattern of .dockerignore's rules. */
  readonly parents?: string | undefined;
  /** Extract it when it is a tar archive, plain or compressed. */
  readonly unpack: boolean;
  readonly place?: Place | undefined;
};

/** Puts files of inputs 1… into input 0. A directory's contents are copied, a file goes into `destination` when that ends in `/` or is a directory. */
export type CopyOperation = {
  readonly kind: 'copy';
  readonly sources: readonly CopySource[];
  /** Absolute; a final `/` or `/.` is kept and means a directory. */
  readonly destination: string;
  /** `user`, `user:group`, names or numbers; names are looked up in input 0. */
  readonly owner?: string | undefined;
  /** Permission bits for everything copied: a number, or a change of those that are there, as chmod(1) takes it (`u=rwX,go-w`). */
  readonly mode?: number | string | undefined;
  /** .dockerignore patterns, relative to each source. */
  readonly excludes: readonly string[];
};

/** Makes a directory and its parents; one that exists stays as it is. */
export type MkdirOperation = { readonly kind: 'mkdir'; readonly path: string; readonly mode: number; readonly owner?: string | undefined };

/** Runs a process in input 0; the output is what it leaves. */
export type RunOperation = {
  readonly kind: 'run';
  readonly args: readonly string[];
  /** Sorted by name. */
  readonly env: readonly (readonly [name: string, value: string])[];
  /** Given to the process but not part of a key: the same step through another proxy is the same step. */
  readonly unkeyedEnv: readonly (readonly [name: string, value: string])[];
  readonly user: string;
  readonly workingDir: string;
  readonly network: 'default' | 'none' | 'host';
  /** For which platform the programs of the root are, when that is not this host's (`linux/arm64`). */
  readonly platform?: string | undefined;
  readonly mounts: readonly RunMount[];
  /** Names that the step's network leads to, and no others: `registry.npmjs.org`, `*.debian.org`. Not part of a key. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Entries of /etc/hosts. Not part of a key. */
  readonly hosts?: readonly { readonly name: string; readonly address: string }[] | undefined;
  /** What the process and all that it starts may take. Not part of a key. */
  readonly limits?: StepLimits | undefined;
  /** With all rights of root on the host; only where the request and the engine's configuration allow it. */
  readonly security?: 'insecure' | undefined;
  /** CDI devices: `vendor.example/class=name`. The step runs without those that this host lacks, unless they are required. */
  readonly devices?: readonly { readonly name: string; readonly required: boolean }[] | undefined;
  /** Run beside it, in its network name space, and end with it. */
  readonly services?: readonly StepService[] | undefined;
};

export type StepLimits = {
  readonly memoryBytes?: number | undefined;
  /** Processors' worth of time: 1.5 is one and a half. */
  readonly cpus?: number | undefined;
  /** 0 or less: as many as the host has. */
  readonly pids?: number | undefined;
  /** Memory and swap together; twice the memory when not given, any with -1. */
  readonly memorySwapBytes?: number | undefined;
  /** Weight beside others that want the processor, 1024 being that of each. */
  readonly cpuShares?: number | undefined;
  /** Processors and memory nodes that it may use, as lists: `0-3,7`. */
  readonly cpuset?: string | undefined;
  readonly memoryNodes?: string | undefined;
  /** Of /dev/shm. */
  readonly shmBytes?: number | undefined;
  /** As setrlimit(2) has them, by lower-case name (`nofile`); -1 for none. */
  readonly ulimits?: readonly { readonly name: string; readonly soft: number; readonly hard: number }[] | undefined;
};

/** A process of another image that a step needs while it runs: a database. What it writes is thrown away. */
export type StepService = {
  /** The step reaches it under this name. */
  readonly name: string;
  readonly input: number;
  readonly args: readonly string[];
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly user: string;
  readonly workingDir: string;
  /** Run in the service until it ends with 0; then the step begins. */
  readonly ready?: { readonly args: readonly string[]; readonly timeoutMs: number } | undefined;
  readonly limits?: StepLimits | undefined;
};

export type RunMount =
  | {
      readonly kind: 'bind';
      readonly input: number;
      /** Absolute inside the input; `/` is all of it. */
      readonly source: string;
      readonly target: string;
      /** Writes to a writable one are thrown away. */
      readonly readOnly: boolean;
      readonly place?: Place | undefined;
    }
  | {
      readonly kind: 'cache';
      readonly id: string;
      /** What an empty cache begins with. */
      readonly from?: { readonly input: number; readonly source: string } | undefined;
      readonly target: string;
      readonly sharing: 'shared' | 'private' | 'locked';
      readonly readOnly: boolean;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly sizeBytes?: number | undefined }
  | SecretMount
  | SshMount;

/** A value that the request brought, as a file (`target`), a variable (`env`) or both. Never part of a key. */
export type SecretMount = {
  readonly kind: 'secret';
  readonly id: string;
  readonly target?: string | undefined;
  readonly env?: string | undefined;
  readonly required: boolean;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** The step runs again when the value is another one: a keyed HMAC of it is among what the step reads. */
  readonly invalidate?: boolean | undefined;
  readonly place?: Place | undefined;
};

/** A socket to an ssh agent that the request brought. */
export type SshMount = {
  readonly kind: 'ssh';
  readonly id: string;
  readonly target: string;
  readonly required: boolean;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly place?: Place | undefined;
};

/** No modification time later than this stays (SOURCE_DATE_EPOCH). */
export type ClampOperation = { readonly kind: 'clamp'; readonly epochSeconds: number };

/** The inputs one over the other: directories merge, everything else replaces. */
export type MergeOperation = { readonly kind: 'merge' };

/** What input 1 has and input 0 has not, or has otherwise in anything but times; directories on the way as in input 1. What input 1 lacks is not told. */
export type DifferenceOperation = { readonly kind: 'difference' };
