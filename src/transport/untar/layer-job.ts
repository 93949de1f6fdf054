import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import type { FileRange } from '../compression.ts';

export type UnlayerParams = FileRange & {
  /** Names the layer in errors: "layer 2 of web:1". */
  readonly what: string;
  /** The file is being written: how far it is (growing-file.ts). Without, it is whole. */
  readonly growing?: SharedArrayBuffer | undefined;
  /** Of the bytes as they lie there; DataLoss `BLOB_DAMAGED` when they differ. */
  readonly digest?: Digest | undefined;
  /** Of the uncompressed tar; DataLoss `LAYER_DAMAGED` when it differs. */
  readonly diffId?: Digest | undefined;
  /** What the tar may measure uncompressed, holes counted; InvalidArgument `LAYER_TOO_LARGE` beyond it. When not given, 8 GiB or 200 times the blob's size, what is more. */
  readonly maxPlainBytes?: number | undefined;
};

/**
 * `layer`: the layer's own tree, digests checked. `needsLower`: the layer has something that only the layers below can tell (a hard link to a file of theirs), so that it has
 * to be unpacked on top of them with `transport.untar`; nothing was checked and nothing is kept.
 */
export type UnlayerResult =
  | (TreeRef & {
      readonly kind: 'layer';
      readonly implied: readonly ByteString[];
      readonly digest: Digest;
      readonly diffId: Digest;
      readonly sizeBytes: number;
      readonly plainBytes: number;
    })
  | { readonly kind: 'needsLower'; readonly problem: string };

/** Progress: bytes of the blob read so far. */
export type UnlayerProgress = { readonly bytes: number };

/** Job `transport.unlayer`. */
export function unlayer(_context: TreeContext, _params: UnlayerParams): Promise<UnlayerResult> {
  throw new EngineError('Internal', 'NOT_YET', 'layers cannot be read yet');
}
