import type { Xattr } from '../model.ts';

/**
 * Attributes that belong to a file wherever it goes: capabilities, POSIX ACLs and what users set. Labels of the host's security modules,
 * measurements and file-system internals stay behind; else the same folder would be another tree on the next host.
 */
export function portableXattrs(xattrs: readonly Xattr[]): readonly Xattr[] | undefined {
  if (xattrs.length === 0) return undefined;
  const kept = xattrs.filter(
    ([name]) => name.startsWith('user.') || name === 'security.capability' || name.startsWith('system.posix_acl_'),
  );
  return kept.length === 0 ? undefined : kept;
}
