import type { ByteString } from '../../base/bytes.ts';

/** A file of this name and prefix hides the entry NAME of the layers below (image-spec layer.md, "Whiteouts"). */
export const whiteoutPrefix = '.wh.';
/** Hides all that the layers below have in its directory. */
export const opaqueWhiteout = '.wh..wh..opq' as ByteString;
/** AUFS's own files, which old layers still carry. */
export const aufsPrefix = '.wh..wh.';
/** Where AUFS kept files with several names; hard links of old layers lead into it. */
export const aufsLinks = '.wh..wh.plnk';

export function whiteoutOf(name: ByteString): ByteString {
  return `${whiteoutPrefix}${name}` as ByteString;
}

export function isWhiteoutName(name: string): boolean {
  return name.startsWith(whiteoutPrefix);
}
