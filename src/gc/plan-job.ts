import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';
import { BlobReferences } from '../store/collect/blob-references.ts';
import { reading } from '../store/collect/mark.ts';
import type { JobContext } from '../store/jobs/context.ts';
import { type PlanRequest, planCollection } from './plan.ts';
import type { GcPlan, Surroundings } from './port.ts';
import { readView } from './view.ts';

export type PlanParams = PlanRequest & { readonly surroundings: Surroundings };

/** Reads everything at one moment and plans. */
export function planJob(context: JobContext, { surroundings, ...request }: PlanParams): GcPlan {
  const onNode = () => context.checkpoint();
  const blobs = blobSizes(join(context.paths.blobs, 'sha256'), onNode);
  return reading(context, (database) =>
    planCollection(readView(database, { blobs, references: new BlobReferences(context.paths.blobs), surroundings, onNode }), request),
  );
}

/** By digest. */
function blobSizes(folder: string, onBlob: () => void): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const name of readdirSync(folder)) {
    onBlob();
    try {
      sizes.set(`sha256:${name}`, statSync(join(folder, name)).size);
    } catch (error) {
      // Removed since the folder was listed.
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
  return sizes;
}
