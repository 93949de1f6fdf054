import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { Totals } from '../database/commit.ts';
import { openReader } from '../database/connection.ts';
import type { TreeId } from '../model.ts';
import type { Witness } from './witness.ts';

/** Committed nodes and root records, as a job thread reads them: a connection of its own, opened when first needed. */
export class NodeSource {
  readonly #path: string;
  /** Of the job that runs now: told of every node and tree before it is looked for. */
  witness: Witness | undefined;
  #opened: { database: DatabaseSync; node: StatementSync; totals: StatementSync; tree: StatementSync } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  node(full: Hex): Uint8Array | undefined {
    this.witness?.note(full);
    return this.#statements().node.get(Buffer.from(full, 'hex'))?.bytes as Uint8Array | undefined;
  }

  /** Undefined when there is no such node. */
  totals(full: Hex): Totals | undefined {
    this.witness?.note(full);
    return toTotals(this.#statements().totals.get(Buffer.from(full, 'hex')));
  }

  root(id: TreeId): { bytes: Uint8Array; totals: Totals } | undefined {
    this.witness?.note(id);
    const row = this.#statements().tree.get(Buffer.from(id, 'hex'));
    const totals = toTotals(row);
    return row === undefined || totals === undefined ? undefined : { bytes: row.bytes as Uint8Array, totals };
  }

  close(): void {
    this.#opened?.database.close();
    this.#opened = undefined;
  }

  #statements() {
    if (this.#opened === undefined) {
      const database = openReader(this.#path);
      this.#opened = {
        database,
        node: database.prepare('SELECT bytes FROM nodes WHERE full = ?'),
        totals: database.prepare('SELECT files, directories, size FROM nodes WHERE full = ?'),
        tree: database.prepare('SELECT bytes, files, directories, size FROM trees WHERE id = ?'),
      };
    }
    return this.#opened;
  }
}

function toTotals(row: Record<string, unknown> | undefined): Totals | undefined {
  return row === undefined ? undefined : { files: Number(row.files), directories: Number(row.directories), size: Number(row.size) };
}

export function treeNotFound(id: string): EngineError {
  return new EngineError('NotFound', 'TREE_NOT_FOUND', `there is no tree ${id}`, {
    hint: 'It may have been collected. Build, load or pull the image again.',
  });
}

export function nodeNotFound(full: string): EngineError {
  return new EngineError('DataLoss', 'NODE_NOT_FOUND', `the directory node ${full} is missing from the metadata`, {
    hint: 'Build, load or pull the image again.',
  });
}
