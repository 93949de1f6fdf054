import { Buffer } from 'node:buffer';
import type { ByteString } from '../../base/bytes.ts';
import { field, headerSum } from './header.ts';
import { blockSize, paddingOf, type TarMember, type TarType } from './member.ts';
import { formatPaxRecord, formatPaxTime, xattrKey } from './pax.ts';

const typeFlags: Record<TarType, string> = {
  file: '0',
  link: '1',
  symlink: '2',
  charDevice: '3',
  blockDevice: '4',
  directory: '5',
  fifo: '6',
};

const maxOctal12 = 0o77777777777;
const maxOctal8 = 0o7777777;

/** Two zero blocks. */
export const endOfArchive = Buffer.alloc(2 * blockSize);
const zeros = Buffer.alloc(blockSize);

/** The zeros that fill a file's last block. */
export function tarPadding(size: number): Buffer {
  return zeros.subarray(0, paddingOf(size));
}

/**
 * A member's header: ustar where everything fits, with a PAX extended header of just what does not fit in front. The same member gives the
 * same bytes on every host and in every version of this format: layer digests depend on it (docs/formats/archives.md). The content of
 * `size` bytes and `tarPadding(size)` follow.
 */
export function encodeTarHeader(member: TarMember): Buffer {
  const split = splitName(member.name);
  const records = paxRecords(member, split !== undefined);
  const own = block(member, split ?? { prefix: '', name: cut(member.name) });
  if (records === '') return own;
  const body = Buffer.from(records, 'latin1');
  const extension = block(paxMember(member, body.length), { prefix: '', name: 'PaxHeaders.0/entry' as ByteString }, 'x');
  return Buffer.concat([extension, body, tarPadding(body.length), own]);
}

/** Empty when ustar alone can say it. Sorted by key, so that there is one order. */
function paxRecords(member: TarMember, nameFits: boolean): ByteString {
  const records: [key: string, value: string][] = member.xattrs.map(([name, value]) => [xattrKey(name), value]);
  if (!nameFits) records.push(['path', member.name]);
  if (!fitsField(member.linkTarget, field.linkName[1])) records.push(['linkpath', member.linkTarget]);
  if (member.size > maxOctal12) records.push(['size', String(member.size)]);
  if (!isOctal(member.uid, maxOctal8)) records.push(['uid', String(member.uid)]);
  if (!isOctal(member.gid, maxOctal8)) records.push(['gid', String(member.gid)]);
  if (!isOctal(member.mtimeSec, maxOctal12) || member.mtimeNsec !== 0) {
    records.push(['mtime', formatPaxTime(member.mtimeSec, member.mtimeNsec)]);
  }
  if (member.major > maxOctal8) records.push(['SCHILY.devmajor', String(member.major)]);
  if (member.minor > maxOctal8) records.push(['SCHILY.devminor', String(member.minor)]);
  records.sort(([a], [b]) => (a < b ? -1 : 1));
  return records.map(([key, value]) => formatPaxRecord(key, value)).join('') as ByteString;
}

function paxMember(member: TarMember, size: number): TarMember {
  return { ...member, type: 'file', linkTarget: '' as ByteString, size, mode: 0o644, uid: 0, gid: 0, mtimeSec: 0, major: 0, minor: 0 };
}

function block(member: TarMember, name: { prefix: string; name: string }, typeFlag = typeFlags[member.type]): Buffer {
  // Out of Node's pool: 100,000 buffers with memory of their own would keep the garbage collector busy.
  const made = Buffer.allocUnsafe(blockSize).fill(0);
  made.write(name.name, field.name[0], 'latin1');
  writeOctal(made, field.mode, member.mode);
  writeOctal(made, field.uid, isOctal(member.uid, maxOctal8) ? member.uid : 0);
  writeOctal(made, field.gid, isOctal(member.gid, maxOctal8) ? member.gid : 0);
  writeOctal(made, field.size, member.size > maxOctal12 ? 0 : member.size);
  writeOctal(made, field.mtime, isOctal(member.mtimeSec, maxOctal12) ? member.mtimeSec : 0);
  made.write(typeFlag, field.type, 'latin1');
  made.write(member.linkTarget.slice(0, field.linkName[1]), field.linkName[0], 'latin1');
  made.write('ustar\x0000', field.magic[0], 'latin1');
  writeOctal(made, field.major, member.major > maxOctal8 ? 0 : member.major);
  writeOctal(made, field.minor, member.minor > maxOctal8 ? 0 : member.minor);
  made.write(name.prefix, field.prefix[0], 'latin1');
  // Six digits, NUL, space: as every tar has written it since v7.
  made.write(`${headerSum(made, 0).toString(8).padStart(6, '0')}\0 `, field.checksum[0], 'latin1');
  return made;
}

function writeOctal(made: Buffer, [at, length]: readonly [number, number], value: number): void {
  made.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
}

function isOctal(value: number, max: number): boolean {
  return value >= 0 && value <= max;
}

/** How a name goes into ustar's fields; undefined when it needs a PAX record: too long, or with bytes that ustar does not define. */
function splitName(name: ByteString): { prefix: string; name: string } | undefined {
  if (!isAscii(name)) return undefined;
  const [, nameLength] = field.name;
  const [, prefixLength] = field.prefix;
  if (name.length <= nameLength) return { prefix: '', name };
  if (name.length > nameLength + 1 + prefixLength) return undefined;
  // The last slash that leaves a prefix short enough; a slash at the end of the name belongs to it.
  const slash = name.lastIndexOf('/', Math.min(prefixLength, name.length - 2));
  if (slash <= 0 || name.length - slash - 1 > nameLength) return undefined;
  return { prefix: name.slice(0, slash), name: name.slice(slash + 1) };
}

function fitsField(text: ByteString, length: number): boolean {
  return text.length <= length && isAscii(text);
}

function isAscii(text: ByteString): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the whole ASCII range is meant
  return /^[\x01-\x7f]*$/.test(text);
}

/** What a reader without PAX sees: the first bytes, and never a slash at the end, which would make it a directory. */
function cut(name: ByteString): string {
  return name.slice(0, field.name[1]).replace(/\/+$/, '') || '_';
}
