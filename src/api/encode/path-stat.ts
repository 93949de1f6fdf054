import type { ContainerPathStat } from '../../api-types/container-inspect.ts';
import { toText } from '../../base/bytes.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFSOCK } from '../../kernel/stat.ts';
import type { PathStat } from '../archive/pack.ts';

/** Go's os.FileMode bits (io/fs), in which Docker tells a file's kind. */
const goKind: Record<number, number> = {
  [S_IFDIR]: 2 ** 31,
  [S_IFLNK]: 2 ** 27,
  [S_IFBLK]: 2 ** 26,
  [S_IFCHR]: 2 ** 26 + 2 ** 21,
  [S_IFIFO]: 2 ** 25,
  [S_IFSOCK]: 2 ** 24,
};
const goSpecial: [bit: number, go: number][] = [
  [0o4000, 2 ** 23],
  [0o2000, 2 ** 22],
  [0o1000, 2 ** 20],
];

/** The value of `X-Docker-Container-Path-Stat`. */
export function encodePathStat({ name, mode, sizeBytes, mtimeSec, mtimeNsec, linkTarget }: PathStat): string {
  const special = goSpecial.reduce((sum, [bit, go]) => sum + (mode & bit ? go : 0), 0);
  const stat: ContainerPathStat = {
    name,
    size: sizeBytes,
    mode: (goKind[mode & S_IFMT] ?? 0) + special + (mode & 0o777),
    mtime: goTime(mtimeSec, mtimeNsec),
    linkTarget: toText(linkTarget),
  };
  return Buffer.from(JSON.stringify(stat)).toString('base64');
}

/** RFC 3339 in UTC with as many digits of the second as there are, as Go writes a time. Beyond year 9999 there is no such form. */
function goTime(sec: number, nsec: number): string {
  const start = new Date(Math.min(sec, 253_402_300_799) * 1000).toISOString().slice(0, 19);
  const fraction = String(nsec).padStart(9, '0').replace(/0+$/, '');
  return `${start}${fraction === '' ? '' : `.${fraction}`}Z`;
}
