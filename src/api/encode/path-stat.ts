import { basename } from 'node:path';
import type { ContainerPathStat } from '../../api-types/container-inspect.ts';
import { toText } from '../../base/bytes.ts';
import { type Entry, EntryType, type Meta } from '../../store/model.ts';

/** Go's os.FileMode bits (io/fs), in which Docker tells a file's kind. */
const goMode = {
  directory: 2 ** 31,
  symlink: 2 ** 27,
  device: 2 ** 26,
  fifo: 2 ** 25,
  setuid: 2 ** 23,
  setgid: 2 ** 22,
  charDevice: 2 ** 21,
  sticky: 2 ** 20,
};

const kindBits: Record<EntryType, number> = {
  [EntryType.file]: 0,
  [EntryType.directory]: goMode.directory,
  [EntryType.symlink]: goMode.symlink,
  [EntryType.blockDevice]: goMode.device,
  [EntryType.charDevice]: goMode.device + goMode.charDevice,
  [EntryType.fifo]: goMode.fifo,
};

/** The value of `X-Docker-Container-Path-Stat`. `entry` undefined is the root directory. */
export function encodePathStat(path: string, entry: Entry | undefined, meta: Meta): string {
  const stat: ContainerPathStat = {
    name: basename(path) || '/',
    size: entry?.type === EntryType.file ? entry.size : 4096,
    mode: toGoMode(entry?.type ?? EntryType.directory, meta.mode),
    mtime: new Date(meta.mtimeSec * 1000 + Math.floor(meta.mtimeNsec / 1e6)).toISOString(),
    linkTarget: entry?.type === EntryType.symlink ? toText(entry.target) : '',
  };
  return Buffer.from(JSON.stringify(stat)).toString('base64');
}

function toGoMode(type: EntryType, mode: number): number {
  const special = (mode & 0o4000 ? goMode.setuid : 0) + (mode & 0o2000 ? goMode.setgid : 0) + (mode & 0o1000 ? goMode.sticky : 0);
  return kindBits[type] + special + (mode & 0o777);
}
