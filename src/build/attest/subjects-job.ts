import type { TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import type { Subject } from './model.ts';
import { filesOf } from './sbom-job.ts';

export type SubjectsParams = { tree: TreeId };

/** `build.subjects`: every regular file of a tree with its digest, for statements about files. */
export function subjects(context: TreeContext, { tree }: SubjectsParams): Subject[] {
  return Array.from(filesOf(context, tree), ({ path, file }) => ({ name: path, digest: { sha256: file.object } }));
}
