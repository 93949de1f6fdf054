import type { ErrorObject } from './own.ts';
import type { PullAux, PushAux } from './registry.ts';

/** A line of progress, as POST /build, /images/create and /images/load stream it: one JSON object a line, `\r\n` between them. */
export type ProgressMessage = {
  stream?: string;
  status?: string;
  id?: string;
  progress?: string;
  progressDetail?: { current?: number; total?: number };
  /** Of a build over a session: an encoded `moby.buildkit.v1.StatusResponse`, in base64. */
  aux?: { ID: string } | PushAux | PullAux | string;
  error?: string;
  /** To Slipway's own command line a whole error object. */
  errorDetail?: { code?: number; message: string } | ErrorObject;
};

/** A line of POST /build with `Accept: application/vnd.slipway.build+json` (docs/formats/api.md). */
export type BuildLine =
  | {
      kind: 'vertex';
      vertex: string;
      name: string;
      state: 'running' | 'cached' | 'done' | 'error' | 'cancelled';
      durationMs?: number;
      error?: string;
      reason?: string;
      /** Counts, by name: of the build context `files`, `bytes`, `hashedFiles`. */
      detail?: Record<string, number>;
    }
  | { kind: 'output'; vertex: string; stream: 'stdout' | 'stderr' /** base64 */; data: string }
  /** `check`: the build check that it is of (docs/formats/dockerfile.md). */
  | { kind: 'warning'; message: string; line?: number; check?: string }
  | BuildDebugLine
  | BuildResultLine
  | { kind: 'error'; error: ErrorObject };

/** A step has failed, and waits a minute for somebody to look into it: POST /slipway/build-debug/{id}/start. */
export type BuildDebugLine = { kind: 'debug'; id: string; vertex: string; name: string; message: string };

/** Body of POST /slipway/build-debug/{id}/start. */
export type BuildDebugStart = { Cmd?: string[] | null; Tty?: boolean; ConsoleSize?: number[] | null };

export type BuildResultLine = {
  kind: 'result';
  imageId?: string;
  /** Of several platforms that of this host, or of the first. */
  tree: string;
  content: string;
  /** Each, where there are several. */
  platforms?: { platform: string; tree: string }[];
  /** What a tag of an image of several platforms names in a registry. */
  indexDigest?: string;
  tags: string[];
  vertices: number;
  cachedVertices: number;
  durationMs: number;
};

/** JSON in the `X-Slipway-Context` header. */
export type SharedContext = { path: string; dev: number; ino: number };

export const buildMediaType = 'application/vnd.slipway.build+json';

/** A row of GET /slipway/builds. Times in milliseconds since 1970. */
export type BuildRecordAnswer = {
  id: string;
  /** Of the Dockerfile or build definition. */
  name: string;
  tags: string[];
  target?: string | undefined;
  startedAtMs: number;
  finishedAtMs?: number | undefined;
  /** `interrupted`: the daemon ended under it. */
  state: 'running' | 'done' | 'failed' | 'cancelled' | 'interrupted';
  error?: string | undefined;
  imageId?: string | undefined;
  tree?: string | undefined;
  vertices: number;
  cachedVertices: number;
  /** What was stated about the result (docs/formats/attestations.md). */
  attestations?: readonly AttestationAnswer[] | undefined;
};

/** A statement about a result: beside an image, as the blob `digest`, about its `manifest`; or in the result's file `file`. */
export type AttestationAnswer = {
  platform: string;
  predicateType: string;
  digest?: string | undefined;
  sizeBytes?: number | undefined;
  manifest?: string | undefined;
  file?: string | undefined;
};

/** A line of GET /slipway/builds/{id}/log: what the build told, and when, in milliseconds since its start. */
export type BuildLogLine = Exclude<BuildLine, { kind: 'result' | 'error' | 'debug' }> & { atMs: number };

/** GET /slipway/build-caches: a cache of `RUN --mount=type=cache`. Times are milliseconds of Unix time. */
export type BuildCacheAnswer = {
  key: string;
  id: string;
  platform: string;
  sharing: 'shared' | 'private' | 'locked';
  createdAtMs: number;
  lastUsedAtMs: number;
  uses: number;
  inUse: boolean;
  /** Of blocks on disk. */
  sizeBytes: number;
  files: number;
  /** The tree that it was when it was last taken into the store. */
  tree?: string | undefined;
};
