import type { ErrorData } from '../../base/errors.ts';
import type { Commit } from '../database/commit.ts';
import type { TreeId } from '../model.ts';
import type { StorePaths } from '../port.ts';

/** `entry` is the URL of the worker entry itself, from which a job can start a writer. */
export type JobThreadData = { paths: StorePaths; entry: string };
export type JobRequest = { name: string; params: unknown; tmpDir: string; cancel: SharedArrayBuffer; witness: SharedArrayBuffer };
export type JobMessage =
  | { kind: 'progress'; progress: unknown }
  | { kind: 'done'; result: unknown; commit: Commit | undefined; roots: TreeId[] }
  | { kind: 'failed'; error: ErrorData };
