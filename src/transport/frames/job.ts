import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import type { LayerCompression } from '../port.ts';
import type { MadeFrames } from './model.ts';

/** A part of an object: one chunk of a pack, as `chunkLength` cuts it. */
export type ObjectPart = { readonly object: Hex; readonly offset: number; readonly length: number };

export type FramesParams = {
  readonly items:
    | { readonly kind: 'layer' /** The layer's own tree; names that begin with `.wh.` are deletions. */; readonly tree: TreeId }
    | { readonly kind: 'chunks'; readonly chunks: readonly ObjectPart[] };
  readonly compression: LayerCompression;
};

/** Progress: bytes of plain content done so far. */
export type FramesProgress = { readonly bytes: number };

/** Job `transport.frames`: makes a blob of frames, and its table's; both are durable among the store's blobs. */
export function makeFrames(_context: TreeContext, _params: FramesParams): Promise<MadeFrames> {
  throw new EngineError('Internal', 'NOT_YET', 'frames cannot be made yet');
}
