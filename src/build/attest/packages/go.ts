import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Package } from './model.ts';

const magic = Buffer.from('\xff Go buildinf:', 'latin1');
const maxSections = 4096;
const maxInfoBytes = 4 * 1024 * 1024;

/** The modules that a Go program was built of, as `go version -m` shows them. Empty for anything else; Go before 1.18 wrote them otherwise. `file` is a path of the host. */
export function goModules(file: string, path: string): Package[] {
  const fd = openSync(file, 'r');
  try {
    const info = buildInfo(fd, fstatSync(fd).size);
    return info === undefined ? [] : modulesOf(info, path);
  } finally {
    closeSync(fd);
  }
}

/** The text of the section `.go.buildinfo` (Go's debug/buildinfo): the magic, flags at 15, and from 32 on two strings, each after its length as a varint: Go's version and the modules. */
function buildInfo(fd: number, sizeBytes: number): { version: string; modules: string } | undefined {
  const section = findSection(fd, sizeBytes, '.go.buildinfo');
  if (section === undefined || !section.subarray(0, magic.length).equals(magic) || ((section[15] ?? 0) & 2) === 0) return undefined;
  const version = readText(section, 32);
  const modules = version === undefined ? undefined : readText(section, version.end);
  if (version === undefined || modules === undefined) return undefined;
  // Sixteen bytes before and behind mark it for whoever looks at memory.
  const text = modules.bytes.length >= 33 ? modules.bytes.subarray(16, -16) : modules.bytes;
  return { version: version.bytes.toString('utf8'), modules: text.toString('utf8') };
}

function readText(section: Buffer, at: number): { bytes: Buffer; end: number } | undefined {
  let length = 0;
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = section[at++];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return at + length <= section.length ? { bytes: section.subarray(at, at + length), end: at + length } : undefined;
  }
  return undefined;
}

/** A section of a 64-bit little-endian ELF file, by its name (System V ABI, "Sections"). */
function findSection(fd: number, sizeBytes: number, name: string): Buffer | undefined {
  const header = read(fd, 0, 64);
  if (header.length < 64 || header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return undefined;
  const [at, entryBytes, count, namesAt] = [
    Number(header.readBigUInt64LE(40)),
    header.readUInt16LE(58),
    header.readUInt16LE(60),
    header.readUInt16LE(62),
  ];
  if (entryBytes !== 64 || count > maxSections || namesAt >= count || at + count * 64 > sizeBytes) return undefined;
  const table = read(fd, at, count * 64);
  const rangeOf = (index: number) => ({
    offset: Number(table.readBigUInt64LE(index * 64 + 24)),
    size: Number(table.readBigUInt64LE(index * 64 + 32)),
  });
  if (table.length < count * 64) return undefined;
  const names = rangeOf(namesAt);
  if (names.size > maxInfoBytes || names.offset + names.size > sizeBytes) return undefined;
  const text = read(fd, names.offset, names.size);
  for (let index = 0; index < count; index++) {
    const start = table.readUInt32LE(index * 64);
    const end = text.indexOf(0, start);
    if (start >= text.length || end < 0 || text.toString('latin1', start, end) !== name) continue;
    const range = rangeOf(index);
    return range.size > maxInfoBytes || range.offset + range.size > sizeBytes ? undefined : read(fd, range.offset, range.size);
  }
  return undefined;
}

function read(fd: number, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, position));
}

/** Lines `mod PATH VERSION SUM` (the program itself) and `dep PATH VERSION SUM`; `=>` says what is there instead of the one before. */
function modulesOf({ version, modules }: { version: string; modules: string }, path: string): Package[] {
  const found: Package[] = [];
  const go = /^go(\d\S*)/.exec(version)?.[1];
  if (go !== undefined) found.push({ name: 'stdlib', version: go, kind: 'golang', path });
  for (const line of modules.split('\n')) {
    const [word, name = '', itsVersion = ''] = line.split('\t');
    if (word === '=>') found.pop();
    if ((word === 'dep' || word === 'mod' || word === '=>') && name !== '' && itsVersion !== '') {
      found.push({ name, version: itsVersion, kind: 'golang', path });
    }
  }
  return found;
}
