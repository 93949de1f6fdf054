import type { ErrorKind } from '../base/errors.ts';
import type { Span } from '../base/timeline.ts';
import type { CreateContainerRequest } from './container.ts';

/** The shapes of Slipway's own routes; docs/formats/api.md is their contract. */

/** The body of every error answer: Docker's `message`, and ours. */
export type ErrorBody = { message: string; code: string; hint?: string | undefined; exitCode?: number | undefined };

/** An error inside a stream. */
export type ErrorObject = { kind: ErrorKind; code: string; message: string; hint?: string | undefined; exitCode?: number | undefined };

/** Body of POST /slipway/run. */
export type RunRequest = {
  name?: string | undefined;
  create: CreateContainerRequest;
  detach?: boolean | undefined;
  rm?: boolean | undefined;
  attachStdin?: boolean | undefined;
  attachStdout?: boolean | undefined;
  attachStderr?: boolean | undefined;
  tty?: boolean | undefined;
  /** Rows, columns. */
  size?: [number, number] | undefined;
  /** Asks for a `timing` message. */
  timing?: boolean | undefined;
};

/** With the value `status`, a command that cannot be run is an error answer to POST /exec/<id>/start; without, as with Docker, text in its stream. */
export const execErrorsHeader = 'x-slipway-exec-errors';

/** Stream numbers in the 8-byte frame header. */
export const FrameStream = { control: 0, stdout: 1, stderr: 2, stdin: 3 } as const;
export type FrameStream = (typeof FrameStream)[keyof typeof FrameStream];

export const frameHeaderBytes = 8;
export const maxControlFrameBytes = 65_536;
export const maxStdinFrameBytes = 1_048_576;

export type RunControlFromDaemon =
  | { id: string }
  | { warnings: string[] }
  | { started: { timeMs: number } }
  | { timing: Span[] }
  | { error: ErrorObject }
  | { exit: { code: number; error?: string | undefined } };

export type RunControlToDaemon = { resize: [number, number] } | { signal: string } | { eof: true } | { detach: true };

export type DiffLine =
  | { kind: 'added' | 'modified' | 'deleted'; path: string; type: EntryKind; before?: number; after?: number }
  | {
      kind: 'result';
      from: { id: string; tree: string };
      to: { id: string; tree: string };
      added: number;
      modified: number;
      deleted: number;
      bytesAdded: number;
      bytesDeleted: number;
    }
  | { kind: 'error'; error: ErrorObject };

export type EntryKind = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo';

/** Body of POST /slipway/bootstrap. */
export type BootstrapRequest = {
  distribution: string;
  suite: string;
  include?: string[] | undefined;
  reference: string;
  mirror?: string | undefined;
  noCache?: boolean | undefined;
  /** Trust what the host's administrator added to its certificates, too. */
  hostCertificates?: boolean | undefined;
};

export type BootstrapLine =
  | { kind: 'progress'; message: string }
  | { kind: 'result'; imageId: string; reference: string; sizeBytes: number; cached: boolean }
  | { kind: 'error'; error: ErrorObject };

export type SlipwayDf = { rows: { kind: string; count: number; bytes: number }[]; totalBytes: number };
