import type { ByteString } from '../../base/bytes.ts';
import type { Xattr } from '../../store/model.ts';

const prefix = 'trusted.overlay.';
const escapedPrefix = 'trusted.overlay.overlay.';

/** What overlayfs notes on a file of the upper layer, apart from what belongs to the file itself. */
export type UpperXattrs = {
  /** The file's own, sorted; an escaped `trusted.overlay.*` has its own name again. Undefined when there is none. */
  readonly own: readonly Xattr[] | undefined;
  /** Only metadata is here: the content is the lower file's. */
  readonly metacopy: boolean;
  /** Where the lower part is: from the root with a leading slash, else a name in the parent's lower directory. */
  readonly redirect: ByteString | undefined;
  /** The directory hides the lower one. */
  readonly opaque: boolean;
  /** An empty file that stands for a deletion (Linux 6.7). */
  readonly whiteout: boolean;
};

/** Labels and measurements of the host's security modules: they say where a file was, not what it is. */
const ofTheHost = /^security\.(selinux|SMACK64.*|apparmor|ima|evm)$/;

const nothing: UpperXattrs = { own: undefined, metacopy: false, redirect: undefined, opaque: false, whiteout: false };

/** Parts a raw listing of the upper file system. See Documentation/filesystems/overlayfs.rst. */
export function partXattrs(raw: readonly Xattr[]): UpperXattrs {
  if (raw.length === 0) return nothing;
  const own: Xattr[] = [];
  const noted = new Map<string, ByteString>();
  for (const [name, value] of raw) {
    if (name.startsWith(escapedPrefix)) own.push([(prefix + name.slice(escapedPrefix.length)) as ByteString, value]);
    else if (name.startsWith(prefix)) noted.set(name.slice(prefix.length), value);
    else if (!ofTheHost.test(name)) own.push([name, value]);
  }
  return {
    own: own.length === 0 ? undefined : own.sort(([a], [b]) => (a < b ? -1 : 1)),
    metacopy: noted.has('metacopy'),
    redirect: noted.get('redirect'),
    // 'x' says "has xattr whiteouts", and is not opaque.
    opaque: noted.get('opaque') === 'y',
    whiteout: noted.has('whiteout'),
  };
}

/** The form that a file's own attributes take in a layer. */
export function escapeXattr([name, value]: Xattr): Xattr {
  return name.startsWith(prefix) ? [(escapedPrefix + name.slice(prefix.length)) as ByteString, value] : [name, value];
}

export function isPrivateXattr(name: ByteString): boolean {
  return name.startsWith(prefix) && !name.startsWith(escapedPrefix);
}

export function sameXattrs(a: readonly Xattr[] | undefined, b: readonly Xattr[] | undefined): boolean {
  const [left, right] = [a ?? [], b ?? []];
  return left.length === right.length && left.every(([name, value], i) => name === right[i]?.[0] && value === right[i]?.[1]);
}
