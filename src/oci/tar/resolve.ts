import type { ByteString } from '../../base/bytes.ts';
import type { EngineError } from '../../base/errors.ts';
import { field, formatOf, readNumber, readText } from './header.ts';
import type { TarMember, TarType } from './member.ts';
import { type PaxRecord, parsePaxTime, xattrName } from './pax.ts';

const types: Record<string, TarType> = {
  '\0': 'file',
  '0': 'file',
  '7': 'file', // contiguous file: a hint that no system uses
  S: 'file', // GNU sparse
  '1': 'link',
  '2': 'symlink',
  '3': 'charDevice',
  '4': 'blockDevice',
  '5': 'directory',
  D: 'directory', // GNU incremental dump: a directory with a list of names as data
  '6': 'fifo',
};

/** Everything that was said of one member: its header block and what extended headers came before it. */
export type MemberSources = {
  block: Buffer;
  start: number;
  typeFlag: string;
  records: readonly PaxRecord[];
  longName: ByteString | undefined;
  longLink: ByteString | undefined;
};
type Fail = (problem: string, name: ByteString) => EngineError;

/** Puts the sources together. GNU's long names win over PAX, PAX over the header, as in Go. `size` is left 0; a PAX size is given apart. */
export function resolveMember(sources: MemberSources, fail: Fail): { member: TarMember; paxSize: number | undefined } {
  const base = baseMember(sources, fail);
  const { member, paxSize } = sources.records.length === 0 ? { member: base, paxSize: undefined } : applyPax(base, sources, fail);
  return { member: settleType(member, fail), paxSize };
}

function baseMember({ block, start, typeFlag, longName, longLink }: MemberSources, fail: Fail): TarMember {
  const format = formatOf(block, start);
  const text = ([at, length]: readonly [number, number]) => readText(block, start + at, length);
  const prefix = format === 'ustar' ? text(field.prefix) : format === 'star' ? text([field.prefix[0], 131]) : '';
  const name = longName ?? ((prefix === '' ? text(field.name) : `${prefix}/${text(field.name)}`) as ByteString);
  const type = types[typeFlag];
  if (type === undefined) throw fail(`its type ${JSON.stringify(typeFlag)} is not known`, name);
  const number = ([at, length]: readonly [number, number], what: string) => {
    const value = readNumber(block, start + at, length);
    if (value === undefined) throw fail(`its ${what} is not a number, or too large`, name);
    return value;
  };
  const isLink = type === 'link' || type === 'symlink';
  const isDevice = (type === 'charDevice' || type === 'blockDevice') && format !== 'v7';
  return {
    type,
    name,
    linkTarget: isLink ? (longLink ?? text(field.linkName)) : ('' as ByteString),
    size: 0,
    mode: number(field.mode, 'mode') & 0o7777,
    uid: number(field.uid, 'uid'),
    gid: number(field.gid, 'gid'),
    mtimeSec: number(field.mtime, 'mtime'),
    mtimeNsec: 0,
    major: isDevice ? number(field.major, 'major device number') : 0,
    minor: isDevice ? number(field.minor, 'minor device number') : 0,
    xattrs: [],
  };
}

function applyPax(
  base: TarMember,
  { records, longName, longLink }: MemberSources,
  fail: Fail,
): { member: TarMember; paxSize: number | undefined } {
  const made: { -readonly [K in keyof TarMember]: TarMember[K] } = { ...base };
  const xattrs = new Map<ByteString, ByteString>();
  let sparseName: ByteString | undefined;
  let paxSize: number | undefined;
  const number = (key: string, value: ByteString) => {
    const parsed = /^-?\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    if (!Number.isSafeInteger(parsed))
      throw fail(`its PAX ${key} ${JSON.stringify(value.slice(0, 40))} is not a number, or too large`, made.name);
    return parsed;
  };
  for (const [key, value] of records) {
    const xattr = xattrName(key);
    if (xattr !== undefined) {
      xattrs.set(xattr, value);
      continue;
    }
    // An empty value gives the header's own field back.
    if (value === '') continue;
    if (key === 'path') made.name = longName ?? value;
    else if (key === 'linkpath' && (base.type === 'link' || base.type === 'symlink')) made.linkTarget = longLink ?? value;
    else if (key === 'GNU.sparse.name') sparseName = value;
    else if (key === 'size') paxSize = number(key, value);
    else if (key === 'uid') made.uid = number(key, value);
    else if (key === 'gid') made.gid = number(key, value);
    else if (key === 'SCHILY.devmajor') made.major = number(key, value);
    else if (key === 'SCHILY.devminor') made.minor = number(key, value);
    else if (key === 'mtime') {
      const time = parsePaxTime(value);
      if (time === undefined) throw fail(`its PAX mtime ${JSON.stringify(value.slice(0, 40))} is not a time`, made.name);
      made.mtimeSec = time.sec;
      made.mtimeNsec = time.nsec;
    }
  }
  made.name = sparseName ?? made.name;
  made.xattrs = [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1));
  if (paxSize !== undefined && paxSize < 0) throw fail(`its size is negative: ${paxSize}`, made.name);
  return { member: made, paxSize };
}

function settleType(member: TarMember, fail: Fail): TarMember {
  if (member.name === '' || member.name.includes('\0')) throw fail('its name is empty or holds NUL', member.name);
  if (member.linkTarget.includes('\0')) throw fail('its link target holds NUL', member.name);
  if ((member.type === 'link' || member.type === 'symlink') && member.linkTarget === '') throw fail('a link without a target', member.name);
  // v7 marked a directory by the slash at the end of its name only.
  return member.type === 'file' && member.name.endsWith('/') ? { ...member, type: 'directory' } : member;
}
