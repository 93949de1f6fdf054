import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';

/** A layer's own tree (docs/formats/layers.md): deletions are files named `.wh.NAME`; `implied` are the directories that the tar never names. */
export type LayerTree = { readonly tree: TreeId; readonly implied: readonly ByteString[] };

export type ApplyParams = {
  /** Lowest first. */
  readonly layers: readonly LayerTree[];
  /** What they are applied to; an empty tree when not given. */
  readonly base?: TreeId | undefined;
};

export type ApplyResult = TreeRef;

/** Job `transport.apply`. */
export function applyLayers(_context: TreeContext, _params: ApplyParams): ApplyResult {
  throw new EngineError('Internal', 'NOT_YET', 'layers cannot be applied yet');
}
