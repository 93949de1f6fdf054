import { EntryType } from '../../store/model.ts';

/** Bits of Go's io/fs FileMode, which is what travels; permissions are the low nine as everywhere. */
const go = {
  directory: 2 ** 31,
  symlink: 2 ** 27,
  device: 2 ** 26,
  fifo: 2 ** 25,
  socket: 2 ** 24,
  setuid: 2 ** 23,
  setgid: 2 ** 22,
  charDevice: 2 ** 21,
  sticky: 2 ** 20,
  irregular: 2 ** 19,
} as const;

const has = (mode: number, bit: number) => Math.floor(mode / bit) % 2 === 1;

/** What kind of entry a mode names; undefined for a socket and for what Go knows no kind for. */
export function typeOfMode(mode: number): EntryType | undefined {
  if (has(mode, go.directory)) return EntryType.directory;
  if (has(mode, go.symlink)) return EntryType.symlink;
  if (has(mode, go.fifo)) return EntryType.fifo;
  if (has(mode, go.socket) || has(mode, go.irregular)) return undefined;
  if (has(mode, go.device)) return has(mode, go.charDevice) ? EntryType.charDevice : EntryType.blockDevice;
  return EntryType.file;
}

/** Whether content may be asked for, as both sides have to agree (fsutil `fileCanRequestData`): no bit of a type is set. */
export function hasContent(mode: number): boolean {
  return !(
    has(mode, go.directory) ||
    has(mode, go.symlink) ||
    has(mode, go.device) ||
    has(mode, go.fifo) ||
    has(mode, go.socket) ||
    has(mode, go.charDevice) ||
    has(mode, go.irregular)
  );
}

/** The twelve low bits of a Unix mode. */
export function unixMode(mode: number): number {
  return (mode & 0o777) | (has(mode, go.setuid) ? 0o4000 : 0) | (has(mode, go.setgid) ? 0o2000 : 0) | (has(mode, go.sticky) ? 0o1000 : 0);
}

const bitsOfType: Record<EntryType, number> = {
  [EntryType.file]: 0,
  [EntryType.directory]: go.directory,
  [EntryType.symlink]: go.symlink,
  [EntryType.charDevice]: go.device + go.charDevice,
  [EntryType.blockDevice]: go.device,
  [EntryType.fifo]: go.fifo,
};

export function goMode(type: EntryType, mode: number): number {
  const bits = (mode & 0o4000 ? go.setuid : 0) + (mode & 0o2000 ? go.setgid : 0) + (mode & 0o1000 ? go.sticky : 0);
  return bitsOfType[type] + bits + (mode & 0o777);
}
