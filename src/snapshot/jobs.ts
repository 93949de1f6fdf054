import type { TreeId } from '../store/model.ts';
import type { Job } from '../store/port.ts';
import { checkOut } from './drivers/hardlink-checkout.ts';
import { writeImage } from './erofs/image-files.ts';
import { type CaptureParams, captureUpper, listChanges } from './overlay/capture.ts';

/** Heavy work of the snapshot room. */
export const snapshotJobs: Record<string, Job> = {
  'snapshot.project': (context, { tree }: { tree: TreeId }) => writeImage(context, tree),
  'snapshot.checkout': (context, { tree }: { tree: TreeId }) => checkOut(context, tree),
  'snapshot.capture': (context, params: CaptureParams) => captureUpper(context, params),
  'snapshot.changes': (context, params: CaptureParams) => listChanges(context, params),
};
