import { namedBlobs, unusedNodes, unusedTrees } from './collect/mark.ts';
import { type SweepParams, sweepObjects } from './collect/sweep-objects.ts';
import { ingestDirectory } from './ingest/ingest.ts';
import type { JobContext } from './jobs/context.ts';
import type { TreeId } from './model.ts';
import type { IngestParams, Job } from './port.ts';
import { adoptTree } from './trees/adopt.ts';
import { checkoutTree } from './trees/checkout.ts';
import { diffTrees } from './trees/diff.ts';
import { editTree, mergeTrees } from './trees/edit.ts';
import { selectionDigest } from './trees/selection.ts';

/** The store's own jobs. Their parameters are those of Trees in port.ts. */
export const storeJobs: Record<string, Job> = {
  // serveJobs always hands out a JobContext; ingest uses what the port leaves out.
  'store.ingest': (context, params: IngestParams) => ingestDirectory(context as JobContext, params),
  'store.edit': editTree,
  'store.merge': mergeTrees,
  'store.diff': diffTrees,
  'store.adopt': adoptTree,
  'store.selection': selectionDigest,
  'store.checkout': checkoutTree,
  'store.unusedTrees': (context, params: { kept: readonly TreeId[] }) => unusedTrees(context as JobContext, params),
  'store.namedBlobs': (context) => namedBlobs(context as JobContext),
  'store.unusedNodes': (context, params: { notes: readonly SharedArrayBuffer[] }) => unusedNodes(context as JobContext, params),
  'store.sweepObjects': (context, params: SweepParams) => sweepObjects(context as JobContext, params),
};
