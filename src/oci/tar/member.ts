import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';

export type TarType = 'file' | 'link' | 'symlink' | 'charDevice' | 'blockDevice' | 'directory' | 'fifo';

/** What a tar says of one member, formats and extensions resolved. Names, targets and xattrs are the archive's bytes, unchecked and unchanged. */
export type TarMember = {
  readonly type: TarType;
  /** As written: may begin with `/` or `./`, may end with `/`, may hold `..`. Never empty, never with NUL. */
  readonly name: ByteString;
  /** Symlink: its text. Link: the earlier member's name. Else ''. */
  readonly linkTarget: ByteString;
  /** Bytes of a file, holes included; 0 for all others. */
  readonly size: number;
  /** Low 12 bits. */
  readonly mode: number;
  /** As written: may be negative or above 32 bits. */
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  /** 0..999,999,999, also before 1970. */
  readonly mtimeNsec: number;
  readonly major: number;
  readonly minor: number;
  /** Sorted by name, each name once. */
  readonly xattrs: readonly (readonly [name: ByteString, value: ByteString])[];
};

export const blockSize = 512;

/** Bytes that follow `size` bytes of content up to the next block. */
export function paddingOf(size: number): number {
  return (blockSize - (size % blockSize)) % blockSize;
}

/** A name for people: not UTF-8 is replaced, control characters are escaped, long ones are cut. */
export function showName(name: ByteString): string {
  const text = JSON.stringify(toText(name));
  return text.length > 300 ? `${text.slice(0, 297)}..."` : text;
}

/** InvalidArgument `TAR_INVALID` or `TAR_TRUNCATED` that says which archive, which entry and at which byte of the (uncompressed) tar. */
export function tarError(
  place: { what: string; name?: ByteString | undefined; offset: number },
  problem: string,
  code = 'TAR_INVALID',
): EngineError {
  const entry = place.name === undefined ? '' : `entry ${showName(place.name)} `;
  return new EngineError('InvalidArgument', code, `${place.what}: ${entry}at byte ${place.offset}: ${problem}`, {
    hint: code === 'TAR_TRUNCATED' ? 'The archive was cut short: fetch or make it again.' : advice(place.name),
  });
}

function advice(entry: ByteString | undefined): string {
  return entry === undefined ? 'Fetch or make the archive again.' : 'Make the archive again without that entry, or with a sound one.';
}
