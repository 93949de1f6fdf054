import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';

/** Without `before`, the layer is the whole tree. */
export type LayerTreeParams = { readonly before?: TreeId | undefined; readonly after: TreeId };
/** A layer's own tree (KnownLayer). `entries` counts names, the root not; `bytes` content, each hardlink group once. */
export type LayerTreeResult = {
  readonly tree: TreeRef;
  readonly entries: number;
  readonly bytes: number;
  readonly implied: readonly ByteString[];
};

/** Job `transport.layer-tree`: what has to be unpacked over `before` to give `after`, in everything. Unsupported `LAYER_NAME`. */
export function layerTree(_context: TreeContext, _params: LayerTreeParams): LayerTreeResult {
  throw new EngineError('Internal', 'NOT_YET', 'layers cannot be made yet');
}
