import { EngineError } from '../../base/errors.ts';

/** Flags of which only the last one counts. */
const groups: readonly (readonly string[])[] = [
  ['ro', 'rw'],
  ['exec', 'noexec'],
  ['suid', 'nosuid'],
  ['dev', 'nodev'],
  ['sync', 'async'],
  ['mand', 'nomand'],
  ['atime', 'noatime', 'relatime', 'norelatime', 'strictatime', 'nostrictatime'],
  ['diratime', 'nodiratime'],
  ['dirsync'],
  ['defaults'],
  ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave', 'unbindable', 'runbindable'],
];
const groupOf = new Map(groups.flatMap((group, index) => group.map((flag) => [flag, index] as const)));

/** tmpfs(5)'s own. */
const keys = new Set(['size', 'nr_blocks', 'nr_inodes', 'mode', 'uid', 'gid', 'mpol', 'huge', 'inode32', 'inode64', 'noswap']);

/** Options of one tmpfs, the last of each kind. InvalidArgument `TMPFS_OPTION_INVALID` for what tmpfs does not have. */
export function mergeTmpfsOptions(options: readonly string[]): string[] {
  const chosen = new Map<string | number, string>();
  for (const option of options) {
    const key = option.split('=', 1)[0] ?? '';
    const kind = groupOf.get(option) ?? (keys.has(key) ? key : undefined);
    if (kind === undefined) {
      throw new EngineError('InvalidArgument', 'TMPFS_OPTION_INVALID', `Invalid tmpfs option ${JSON.stringify(option)}`, {
        hint: 'Such as size=64m, mode=1770, uid=1000, exec, ro.',
      });
    }
    chosen.delete(kind);
    chosen.set(kind, option);
  }
  return [...chosen.values()].filter((option) => option !== 'defaults');
}
