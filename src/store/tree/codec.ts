import { hash } from 'node:crypto';
import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type NodeDigests, type Root, type TreeId, type TreeRef } from '../model.ts';
import { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { checkNumber, hasXattrs, invalid, limits, type Mutable, readMeta, readTime, writeMeta, writeTime } from './meta-codec.ts';
import { checkName, maxNameBytes, maxPathBytes, nameProblem, pathProblem } from './names.ts';

export { limits };

/**
 * Directory nodes and root records as bytes: docs/formats/tree.md. Both are a *content* section, whose SHA-256 is the content digest,
 * then a *times* section; the SHA-256 of the whole is the full digest. The decoders accept exactly what the encoders write.
 */
const nodeMagic = [0x53, 0x4e] as const; // "SN"
const nodeContentMagic = [0x53, 0x43] as const; // "SC"
const rootMagic = [0x53, 0x52] as const; // "SR"
const rootContentMagic = [0x53, 0x44] as const; // "SD"
const version = 1;

const typeMask = 0x0f;

export type EncodedNode = NodeDigests & { start: number; end: number };

/** Appends the node of these entries, given in any order. Throws InvalidArgument on a name or value that cannot be. */
export function encodeNode(writer: ByteWriter, unsorted: readonly Entry[]): EncodedNode {
  const entries = sortEntries(unsorted);
  const start = writer.length;
  writer.u8(nodeMagic[0]);
  writer.u8(nodeMagic[1]);
  writer.u8(version);
  const contentStart = writer.length;
  writer.u8(nodeContentMagic[0]);
  writer.u8(nodeContentMagic[1]);
  writer.u8(version);
  writer.varint(entries.length);
  for (const entry of entries) writeEntryContent(writer, entry);
  const contentEnd = writer.length;
  for (const entry of entries) {
    writeTime(writer, entry);
    if (entry.type === EntryType.directory) writer.digest(entry.full);
  }
  const end = writer.length;
  return { start, end, full: digest(writer.view(start, end)), content: digest(writer.view(contentStart, contentEnd)) };
}

/** The content digest that a directory of just these entries has. Names a selection in a build key. */
export function contentDigest(writer: ByteWriter, entries: readonly Entry[]): Hex {
  const { start, content } = encodeNode(writer, entries);
  writer.length = start;
  return content;
}

/** Sorted by name, the given array when it is so already; throws on a duplicate or invalid name. */
export function sortEntries(entries: readonly Entry[]): readonly Entry[] {
  let previous = '';
  let sorted = true;
  for (const { name } of entries) {
    checkName(name);
    if (name <= previous) sorted = false;
    previous = name;
  }
  if (sorted) return entries;
  const copy = [...entries].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (let i = 1; i < copy.length; i++) {
    const name = copy[i]?.name;
    if (name !== undefined && name === copy[i - 1]?.name) {
      throw new EngineError('InvalidArgument', 'NAME_DUPLICATE', `"${toText(name)}" is twice in one directory`);
    }
  }
  return copy;
}

function writeEntryContent(writer: ByteWriter, entry: Entry): void {
  writer.u8(entry.xattrs === undefined || entry.xattrs.length === 0 ? entry.type : entry.type | hasXattrs);
  writer.bytes(entry.name);
  writeMeta(writer, entry, entry.name);
  switch (entry.type) {
    case EntryType.file:
      if (!Number.isSafeInteger(entry.size) || entry.size < 0) invalid(entry.name, `its size is ${entry.size}`);
      writer.varint(entry.size);
      writer.digest(entry.object);
      break;
    case EntryType.directory:
      writer.digest(entry.content);
      break;
    case EntryType.symlink:
      if (entry.target.length === 0 || entry.target.length > limits.linkBytes || entry.target.includes('\0')) {
        invalid(entry.name, `its link target has ${entry.target.length} bytes or holds a NUL byte`);
      }
      writer.bytes(entry.target);
      break;
    case EntryType.charDevice:
    case EntryType.blockDevice:
      if (entry.type === EntryType.charDevice && entry.major === 0 && entry.minor === 0) {
        invalid(entry.name, 'it is the character device 0:0, which overlayfs takes for a deleted file');
      }
      writer.varint(checkNumber(entry.major, limits.device, entry.name, 'device number'));
      writer.varint(checkNumber(entry.minor, limits.device, entry.name, 'device number'));
      break;
    case EntryType.fifo:
      break;
  }
}

/** Reads a node back. Throws DataLoss `TREE_DAMAGED` on anything that `encodeNode` would not have written. */
export function decodeNode(bytes: Uint8Array, what = 'a directory node'): Entry[] {
  const reader = new ByteReader(bytes, what);
  reader.magic(nodeMagic, version);
  reader.magic(nodeContentMagic, version);
  const count = reader.varint(limits.entries, 'the number of entries');
  if (count > reader.end - reader.offset) reader.fail('it has fewer bytes than entries');
  const entries: Mutable<Entry>[] = [];
  let previous = '';
  for (let i = 0; i < count; i++) {
    const entry = readEntryContent(reader);
    if (entry.name <= previous) reader.fail('names are not in order');
    previous = entry.name;
    entries.push(entry);
  }
  for (const entry of entries) {
    readTime(reader, entry);
    if (entry.type === EntryType.directory) entry.full = reader.digest();
  }
  reader.finish();
  return entries;
}

const noDigest = '' as Hex;

function readEntryContent(reader: ByteReader): Mutable<Entry> {
  const tag = reader.u8();
  const name = reader.bytes(maxNameBytes, 'a name');
  const problem = nameProblem(name);
  if (problem !== undefined) reader.fail(`a name cannot be used: ${problem}`);
  const { mode, uid, gid, xattrs } = readMeta(reader, (tag & hasXattrs) !== 0);
  const base = { name, mode, uid, gid, mtimeSec: 0, mtimeNsec: 0, xattrs };
  if ((tag & ~(typeMask | hasXattrs)) !== 0) reader.fail(`an entry has the tag ${tag}`);
  switch (tag & typeMask) {
    case EntryType.file:
      return { type: EntryType.file, ...base, size: reader.varint(limits.sizeBytes, 'a size'), object: reader.digest() };
    case EntryType.directory:
      return { type: EntryType.directory, ...base, full: noDigest, content: reader.digest() };
    case EntryType.symlink: {
      const target = reader.bytes(limits.linkBytes, 'a link target');
      if (target.length === 0 || target.includes('\0')) reader.fail('a link target is empty or holds a NUL byte');
      return { type: EntryType.symlink, ...base, target };
    }
    case EntryType.charDevice:
    case EntryType.blockDevice: {
      const type = (tag & typeMask) as typeof EntryType.charDevice | typeof EntryType.blockDevice;
      const major = reader.varint(limits.device, 'a device number');
      const minor = reader.varint(limits.device, 'a device number');
      if (type === EntryType.charDevice && major === 0 && minor === 0) reader.fail('a character device is 0:0');
      return { type, ...base, major, minor };
    }
    case EntryType.fifo:
      return { type: EntryType.fifo, ...base };
    default:
      return reader.fail(`an entry has the type ${tag & typeMask}`);
  }
}

export type EncodedRoot = TreeRef & { start: number; end: number };

/** Appends a root record. Hardlink groups are brought into their one order; groups of one path are dropped. */
export function encodeRoot(writer: ByteWriter, root: Root): EncodedRoot {
  const start = writer.length;
  writer.u8(rootMagic[0]);
  writer.u8(rootMagic[1]);
  writer.u8(version);
  const contentStart = writer.length;
  writer.u8(rootContentMagic[0]);
  writer.u8(rootContentMagic[1]);
  writer.u8(version);
  writer.u8(root.xattrs === undefined || root.xattrs.length === 0 ? 0 : hasXattrs);
  writeMeta(writer, root, '/');
  writer.digest(root.content);
  writeHardlinks(writer, root.hardlinks);
  const contentEnd = writer.length;
  writeTime(writer, root);
  writer.digest(root.full);
  const end = writer.length;
  return { start, end, id: digest(writer.view(start, end)) as TreeId, content: digest(writer.view(contentStart, contentEnd)) };
}

function writeHardlinks(writer: ByteWriter, hardlinks: Root['hardlinks']): void {
  const groups = hardlinks.filter((group) => group.length > 1).map((group) => [...group].sort());
  groups.sort((a, b) => ((a[0] ?? '') < (b[0] ?? '') ? -1 : 1));
  writer.varint(groups.length);
  const seen = new Set<string>();
  for (const group of groups) {
    writer.varint(group.length);
    for (const path of group) {
      const problem = pathProblem(path) ?? (seen.has(path) ? 'it is in the hardlink table twice' : undefined);
      if (problem !== undefined) invalid(path, problem);
      seen.add(path);
      writer.bytes(path);
    }
  }
}

/** Reads a root record back; as strict as `decodeNode`. */
export function decodeRoot(bytes: Uint8Array, what = 'a root record'): Root {
  const reader = new ByteReader(bytes, what);
  reader.magic(rootMagic, version);
  reader.magic(rootContentMagic, version);
  const flags = reader.u8();
  if ((flags & ~hasXattrs) !== 0) reader.fail(`it has the flags ${flags}`);
  const meta = readMeta(reader, flags !== 0);
  const content = reader.digest();
  const hardlinks = readHardlinks(reader);
  const root = { ...meta, mtimeSec: 0, mtimeNsec: 0, full: noDigest, content, hardlinks };
  readTime(reader, root);
  root.full = reader.digest();
  reader.finish();
  return root;
}

function readHardlinks(reader: ByteReader): ByteString[][] {
  const count = reader.varint(limits.hardlinkGroups, 'the number of hardlink groups');
  const groups: ByteString[][] = [];
  const seen = new Set<string>();
  for (let i = 0; i < count; i++) {
    const paths = reader.varint(limits.entries, 'the number of paths of a hardlink group');
    if (paths < 2) reader.fail('a hardlink group has fewer than two paths');
    const group: ByteString[] = [];
    for (let j = 0; j < paths; j++) {
      const path = reader.bytes(maxPathBytes, 'a hardlink path');
      if (pathProblem(path) !== undefined) reader.fail('a hardlink path cannot be used');
      if (path <= (group[j - 1] ?? '')) reader.fail('hardlink paths are not in order');
      if (seen.has(path)) reader.fail('a path is in two hardlink groups');
      seen.add(path);
      group.push(path);
    }
    if ((group[0] ?? '') <= (groups[i - 1]?.[0] ?? '')) reader.fail('hardlink groups are not in order');
    groups.push(group);
  }
  return groups;
}

function digest(bytes: Uint8Array): Hex {
  return hash('sha256', bytes, 'hex') as Hex;
}
