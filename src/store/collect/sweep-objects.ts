import { existsSync, readdirSync, renameSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { isErrno } from '../../base/errors.ts';
import type { JobContext } from '../jobs/context.ts';
import { Witnesses } from '../jobs/witness.ts';
import { forEachReference } from '../tree/references.ts';
import { DigestTable } from './digest-table.ts';
import { reading } from './mark.ts';
import { SweepGate } from './sweep-gate.ts';

export type SweepParams = {
  notes: readonly SharedArrayBuffer[];
  gate: SharedArrayBuffer;
  /** At most this share of the time is spent removing. */
  share: number;
};
export type Swept = { objects: number; bytes: number };

const hiddenEnding = '.gone';

/**
 * Removes the objects that no committed node refers to and no job relies on. Each is hidden first; only when then no job has asked for it, it goes. The rows
 * of nodes that referred to it were removed durably before, so that after a crash nothing can refer to what is not there.
 */
export async function sweepObjects(context: JobContext, { notes, gate, share }: SweepParams): Promise<Swept> {
  const witnesses = new Witnesses();
  witnesses.refresh(notes);
  const used = usedObjects(context);
  const sweep = new ObjectSweep({ witnesses, notes, gate: new SweepGate(gate), used });
  for (let prefix = 0; prefix < 256; prefix++) {
    const startedAt = performance.now();
    context.checkpoint();
    sweep.folder(context.paths.objects, prefix.toString(16).padStart(2, '0'), () => context.checkpoint());
    context.report(sweep.swept);
    const spentMs = performance.now() - startedAt;
    if (share < 1 && spentMs > 1) await new Promise((resolve) => setTimeout(resolve, spentMs / share - spentMs));
  }
  return sweep.swept;
}

function usedObjects(context: JobContext): DigestTable {
  return reading(context, (database) => {
    const used = new DigestTable();
    let count = 0;
    for (const { bytes } of database.prepare('SELECT bytes FROM nodes').iterate()) {
      if (++count % 512 === 0) context.checkpoint();
      forEachReference(
        bytes as Uint8Array,
        (buffer, offset) => used.intern(buffer, offset),
        () => {},
      );
    }
    return used;
  });
}

type SweepParts = { witnesses: Witnesses; notes: readonly SharedArrayBuffer[]; gate: SweepGate; used: DigestTable };

class ObjectSweep {
  readonly swept: Swept = { objects: 0, bytes: 0 };
  readonly #parts: SweepParts;

  constructor(parts: SweepParts) {
    this.#parts = parts;
  }

  folder(objects: string, prefix: string, checkpoint: () => void): void {
    for (const name of readdirSync(`${objects}/${prefix}`)) {
      const path = `${objects}/${prefix}/${name}`;
      // What a collection hid that was cut off: it had been found unused, unless a job wrote it meanwhile.
      // A cancelled sweep ends between two objects, before its thread is ended for it.
      checkpoint();
      if (name.endsWith(hiddenEnding)) this.#bringBack(path);
      else if (/^[0-9a-f]{62}$/.test(name)) this.#object(path, Buffer.from(prefix + name, 'hex'));
    }
  }

  #object(path: string, digest: Buffer): void {
    const { witnesses, notes, gate, used } = this.#parts;
    if (used.indexOf(digest) >= 0 || witnesses.has(digest)) return;
    const hidden = path + hiddenEnding;
    gate.raise();
    try {
      const { blocks } = statSync(path);
      renameSync(path, hidden);
      witnesses.refresh(notes);
      if (witnesses.has(digest)) {
        this.#bringBack(hidden);
        return;
      }
      unlinkSync(hidden);
      this.swept.objects++;
      this.swept.bytes += blocks * 512;
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    } finally {
      gate.lower();
    }
  }

  /** A job that missed it may have written it anew: then that one stays. */
  #bringBack(hidden: string): void {
    const path = hidden.slice(0, -hiddenEnding.length);
    if (existsSync(path)) rmSync(hidden);
    else renameSync(hidden, path);
  }
}
