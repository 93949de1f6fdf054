import type { Job } from '../store/port.ts';
import { applyLayers } from './apply/job.ts';
import { scan } from './archives/scan.ts';
import { buildChunked } from './chunked/build-job.ts';
import { pullChunked } from './chunked/pull-job.ts';
import { buildCollection } from './collections/build-job.ts';
import { fetchCollected } from './collections/fetch-job.ts';
import { makeFrames } from './frames/job.ts';
import { layerGroups } from './layers/groups-job.ts';
import { layerStack, layerTree, layerWeights } from './layers/layer-tree-job.ts';
import { exportToPipe, tarToFile } from './tar/job.ts';
import { untar } from './untar/job.ts';
import { unlayer } from './untar/layer-job.ts';

/** The heavy work of this room. Parameters and results are the types of the functions named here. */
export const transportJobs: Record<string, Job> = {
  'transport.untar': untar,
  'transport.unlayer': unlayer,
  'transport.apply': applyLayers,
  'transport.frames': makeFrames,
  'transport.layer-tree': layerTree,
  'transport.layer-weights': layerWeights,
  'transport.layer-stack': layerStack,
  'transport.layer-groups': layerGroups,
  'transport.chunked-build': buildChunked,
  'transport.chunked-pull': pullChunked,
  'transport.collection-build': buildCollection,
  'transport.collection-fetch': fetchCollected,
  'transport.tar': tarToFile,
  'transport.export': exportToPipe,
  'transport.scan': scan,
};
