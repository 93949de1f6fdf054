import type { AttestationAnswer, BuildRecordAnswer } from '../api-types/build.ts';
import type { AuthConfig } from '../api-types/registry.ts';
import type { AttestOptions } from '../oci/attest-options.ts';
import type { ImageConfig, Platform } from '../oci/image.ts';
import type { Reference } from '../oci/reference.ts';
import type { TreeRef } from '../store/model.ts';
import type { ImageRecord, Lease } from '../store/port.ts';
import type { ContextSource } from './context/build-context.ts';
import type { StepDebugger } from './debug.ts';
import type { StepLimits } from './graph/vertex.ts';
import type { SecretSource, SshAgents } from './secrets.ts';

export type { ContextPath, ContextSource, ContextTree } from './context/build-context.ts';
export type { ContextListParams, ContextListResult, TakeContentsParams } from './context/list-jobs.ts';
export type { DebuggedStep, StepDebugger } from './debug.ts';
export type { SecretSource, SshAgents } from './secrets.ts';

export { GivenSecrets } from './secrets.ts';

export type BuildContext =
  /** A folder that daemon and client both see. */
  | { kind: 'directory'; path: string }
  /** A tar (plain or compressed) already written to a temporary file by the API. */
  | { kind: 'tar'; file: string }
  | { kind: 'tree'; tree: TreeRef }
  /** Files that somebody else holds and gives as they are asked for. With `adopt`, content that is known takes the times of when it first came. */
  | { kind: 'source'; open(options: { lease: Lease; adopt: boolean }): ContextSource };

export type NamedContext = BuildContext | { kind: 'image'; reference: string } | { kind: 'remote'; url: string };

export type BuildRequest = {
  context: BuildContext;
  /** Path of the Dockerfile inside the context, or its text. */
  dockerfile: { path: string } | { text: string; name: string };
  target?: string;
  /** How it is to be read: as a Dockerfile when not given, else as a build definition (docs/formats/build-definition.md). */
  frontend?: 'dockerfile' | 'definition';
  buildArgs: Record<string, string>;
  labels: Record<string, string>;
  tags: string[];
  noCache: boolean;
  timestamps: 'first' | 'source' | 'epoch';
  /** What is built for, one or several with commas between them; this host when not given. */
  platform?: string;
  networkMode?: 'default' | 'none' | 'host';
  /** `check`: nothing is built; the result's tree is the empty one. */
  output: { kind: 'image' } | { kind: 'tree' } | { kind: 'check' };
  /** What names in FROM, --from and from= stand for, instead of images (`--build-context`). */
  contexts?: Record<string, NamedContext>;
  /** Secrets and ssh agents for the steps that ask for them. */
  secrets?: SecretSource;
  ssh?: SshAgents;
  /** Ask the registries of base images whether there are newer ones, instead of only for those that are not here. */
  pull?: boolean;
  /** Credentials for them, by registry. */
  authFor?: (reference: Reference) => AuthConfig | undefined | Promise<AuthConfig | undefined>;
  /** Stages (their names) and steps whose results are not taken from a cache. */
  noCacheFilter?: readonly string[];
  /** How old results of RUN may be: of the stage or step `name`, or of all; older ones count as none. The last one of a name counts. */
  cacheTtls?: readonly { name?: string; ms: number }[];
  /** Ids of secrets that the steps that mount them depend on: another value, and they run again. */
  invalidateSecrets?: readonly string[];
  /** Where results of other hosts may be had, and where this build's go. */
  cacheFrom?: readonly CacheLocation[];
  cacheTo?: readonly CacheExport[];
  /** Entries of /etc/hosts of every step. */
  extraHosts?: readonly { name: string; address: string }[];
  /** What a step may take when it does not say itself. */
  limits?: StepLimits;
  /** Names that the network of every step leads to; all when not given. */
  allowedHosts?: readonly string[];
  /** What steps may do beyond the others (`network.host`, `security.insecure`, `device`), where the engine's configuration permits it too. */
  entitlements?: readonly string[];
  /** Whoever wants to look into steps that fail. Such a build runs its steps for itself, and not together with others. */
  debug?: StepDebugger;
  /** Statements about the build that are kept beside the image. */
  attestations?: AttestOptions;
};

/** A cache that other hosts share (docs/formats/build-cache.md). */
export type CacheLocation =
  | { kind: 'local'; path: string; tag?: string }
  | { kind: 'registry'; reference: string; insecure?: boolean }
  | {
      kind: 's3';
      bucket: string;
      prefix: string;
      /** Caches of several names lie beside each other; `slipway` when not given. */
      name?: string;
      region?: string;
      endpoint?: string;
      pathStyle?: boolean;
      /** AWS_ACCESS_KEY_ID and so on of the daemon's environment when not given. */
      credentials?: S3Credentials;
    };

export type S3Credentials = { accessKeyId: string; secretAccessKey: string; sessionToken?: string };

/** `min`: results of the target's own stage only; `max`: of all steps. Cache mounts go along unless left out. A failure is a warning unless `ignoreError` is false. */
export type CacheExport = CacheLocation & { mode?: 'min' | 'max'; mounts?: boolean; ignoreError?: boolean };

export type BuildEvent =
  | {
      kind: 'vertex';
      vertex: string;
      name: string;
      state: 'running' | 'cached' | 'done' | 'error' | 'cancelled';
      durationMs?: number;
      error?: string;
      /** Why it was cached or had to run, for people. */
      reason?: string;
      /** Counts, by name: of a context `files`, `bytes`, `hashedFiles`. */
      detail?: Record<string, number>;
    }
  | { kind: 'output'; vertex: string; stream: 'stdout' | 'stderr'; data: Buffer }
  /** `check`: the name of the build check that it is of, which `message` begins with. */
  | { kind: 'warning'; message: string; line?: number; check?: string };

export type BuildResult = {
  /** What was stated about it, when that was asked for. */
  attestations?: readonly AttestationAnswer[];
  /** Of a build for several platforms the one with all of them; `tree` and `config` are then those for this host, or the first. */
  image?: ImageRecord;
  /** Each of several platforms, in the order in which they were asked for. */
  platforms?: readonly PlatformResult[];
  tree: TreeRef;
  config: ImageConfig;
  vertices: number;
  cachedVertices: number;
  durationMs: number;
};

export type PlatformResult = { platform: string; tree: TreeRef; config: ImageConfig; image?: ImageRecord };

/** Brings base images from registries. */
export interface ImageFetcher {
  fetch(
    reference: Reference,
    options: {
      auth?: AuthConfig | undefined;
      /** When it is not for this host: then the image takes no name from one that is here. */
      platform?: Platform | undefined;
      signal: AbortSignal;
      onProgress: (status: string) => void;
    },
  ): Promise<ImageRecord>;
}

export interface Builder {
  build(request: BuildRequest, options: { onEvent: (event: BuildEvent) => void; signal?: AbortSignal }): Promise<BuildResult>;
}

/** A build that is under way or over. `interrupted`: the engine ended under it. Ids sort by time. */
export type BuildRecord = BuildRecordAnswer;

/** Builds of the past, the latest first. */
export interface BuildRecords {
  list(): Promise<BuildRecord[]>;
  /** By its id or the beginning of it. NotFound `BUILD_NOT_FOUND`; InvalidArgument `BUILD_AMBIGUOUS`. */
  get(id: string): Promise<BuildRecord>;
  /** All that it told: a JSON event a line, with `atMs` since its start and output in base64. */
  log(id: string): AsyncIterable<Uint8Array>;
}
