import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { TreeId } from '../../store/model.ts';
import type { IdMap } from '../port.ts';

/** `<root>/snapshots/<id>/snapshot.json`: see docs/formats/snapshots.md. */
export type SnapshotRecord = {
  readonly version: 1;
  readonly driver: string;
  readonly tree: TreeId;
  /** The writer's version of the lower that the upper layer was made over. */
  readonly projection: number;
  readonly index: boolean;
  readonly disposable: boolean;
  /** How a user namespace sees the owners. */
  readonly idMap?: IdMap | undefined;
};

/** The folders of one snapshot. */
export type SnapshotPaths = { readonly folder: string; readonly upper: string; readonly work: string; readonly record: string };

const idPattern = /^[a-z0-9-]{1,64}$/;

export function snapshotPaths(snapshots: string, id: string): SnapshotPaths {
  if (!idPattern.test(id)) {
    throw new EngineError(
      'InvalidArgument',
      'SNAPSHOT_ID_INVALID',
      `"${id.slice(0, 100)}" is no snapshot id: expected 1 to 64 of a-z, 0-9 and -`,
    );
  }
  const folder = join(snapshots, id);
  return { folder, upper: join(folder, 'upper'), work: join(folder, 'work'), record: join(folder, 'snapshot.json') };
}

/** Written last when a snapshot is made: a folder without a record is a leftover. */
export function writeRecord(paths: SnapshotPaths, record: SnapshotRecord): void {
  const temporary = `${paths.record}.new`;
  writeFileSync(temporary, JSON.stringify(record));
  renameSync(temporary, paths.record);
}

/** Undefined when there is no such snapshot. */
export function readRecord(paths: SnapshotPaths): SnapshotRecord | undefined {
  let text: string;
  try {
    text = readFileSync(paths.record, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    const record = JSON.parse(text) as SnapshotRecord;
    if (record.version === 1) return record;
  } catch (error) {
    throw damaged(paths, error);
  }
  throw damaged(paths);
}

function damaged(paths: SnapshotPaths, cause?: unknown): EngineError {
  return new EngineError('DataLoss', 'SNAPSHOT_DAMAGED', `${paths.record} is not a record that this engine can read`, {
    hint: 'Remove the container and make it anew; its writable layer is in the same folder.',
    cause,
  });
}

/** Every snapshot, and what a crash left of one that was being made: both are there to be removed. */
export function listFolders(snapshots: string): string[] {
  return readdirSync(snapshots)
    .filter((name) => idPattern.test(name))
    .sort();
}

/** Makes the folder, or takes over one that a crash left without a record. False when the snapshot exists. */
export function makeFolder(paths: SnapshotPaths): boolean {
  try {
    mkdirSync(paths.folder, { mode: 0o711 });
    return true;
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false;
    throw error;
  }
}
