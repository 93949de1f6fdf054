import { EngineError } from '../../base/errors.ts';
import type { FrameTable } from './model.ts';

/** A table as a blob: docs/formats/frames.md, "Tables". Compressed; the same table gives the same bytes. */
export function encodeFrameTable(_table: FrameTable): Buffer {
  throw new EngineError('Internal', 'NOT_YET', 'tables cannot be written yet');
}

/** Reads untrusted bytes. InvalidArgument `FRAME_TABLE_INVALID` for anything that `encodeFrameTable` would not have written, and beyond its limits. `what` names it in errors. */
export function decodeFrameTable(_bytes: Uint8Array, _what = 'a frame table'): FrameTable {
  throw new EngineError('Internal', 'NOT_YET', 'tables cannot be read yet');
}
