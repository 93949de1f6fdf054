import { type Entry, EntryType, type FileEntry, type NodeDigests } from '../../../store/model.ts';
import type { Mutable } from '../../../store/tree/meta-codec.ts';
import { FormReader, maxDepth, readRecord, type StreamRecord } from './records.ts';
import { DirectoryTable, type StreamDirectory, type TreeStream } from './tree-stream.ts';

/** A range of a new stream that is also in an earlier one: at `start + shift` there. */
export type SharedRange = { readonly start: number; readonly end: number; readonly shift: number };

export type DecodeOptions = {
  /** Names the stream in errors. */
  what: string;
  putNode(entries: readonly Entry[]): NodeDigests;
  /** Called for each file that the stream tells, with the entry before it is used: what it returns is put in its place. */
  file?: ((record: StreamRecord & { entry: FileEntry }) => FileEntry) | undefined;
  /** The stream of a tree that is here whole, and what the new one has from it, by `start`: directories that lie in such a range are not read again. */
  shared?: { base: TreeStream; ranges: readonly SharedRange[] } | undefined;
};

type Open = { entry: Mutable<Entry> | undefined; entries: Entry[]; row: number; lastName: string };

/** Reads a stream, untrusted bytes, and recomputes the digests of its directories. InvalidArgument `CHUNKED_INVALID` for one that `encodeStream` would not have written. */
export function decodeStream(bytes: Buffer, options: DecodeOptions): NodeDigests & { directories: DirectoryTable } {
  const reader = new FormReader(bytes, options.what);
  const directories = new DirectoryTable();
  const stack: Open[] = [];
  let open: Open = { entry: undefined, entries: [], row: directories.begin(0), lastName: '' };
  while (reader.offset < reader.end) {
    const record = readRecord(reader);
    if (record === undefined) {
      const above = stack.pop();
      if (above === undefined || open.entry === undefined) return reader.fail('a directory ends that did not begin');
      close(open, reader.offset, options, directories);
      open = above;
      continue;
    }
    const { entry } = record;
    if (entry.name <= open.lastName) reader.fail('names are not in order');
    open.lastName = entry.name;
    if (entry.type === EntryType.file) {
      open.entries.push(options.file === undefined ? entry : options.file({ ...record, entry }));
      continue;
    }
    open.entries.push(entry);
    if (entry.type !== EntryType.directory) continue;
    const known = sharedDirectory(reader.offset, options.shared);
    if (known !== undefined) {
      entry.full = known.full;
      entry.content = known.content;
      const { base } = options.shared as { base: TreeStream }; // a known directory is of it
      directories.copy(base.directories, known.start, known.end, reader.offset - known.start);
      reader.offset += known.end - known.start;
      continue;
    }
    if (stack.length >= maxDepth) reader.fail(`there are more than ${maxDepth} directories inside each other`);
    stack.push(open);
    open = { entry, entries: [], row: directories.begin(reader.offset), lastName: '' };
  }
  if (stack.length > 0) reader.fail('it ends inside a directory');
  return { ...close(open, reader.offset, options, directories), directories };
}

function close({ entry, entries, row }: Open, end: number, { putNode }: DecodeOptions, directories: DirectoryTable): NodeDigests {
  const digests = putNode(entries);
  directories.finish(row, end, digests);
  if (entry?.type === EntryType.directory) {
    entry.full = digests.full;
    entry.content = digests.content;
  }
  return digests;
}

/** The directory whose entries begin here, when all of it is in a shared range. */
function sharedDirectory(start: number, shared: DecodeOptions['shared']): StreamDirectory | undefined {
  if (shared === undefined) return undefined;
  const range = rangeAt(shared.ranges, start);
  if (range === undefined) return undefined;
  const known = shared.base.directories.startingAt(start + range.shift);
  return known !== undefined && known.end - range.shift <= range.end ? known : undefined;
}

function rangeAt(ranges: readonly SharedRange[], at: number): SharedRange | undefined {
  let low = 0;
  let high = ranges.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const range = ranges[middle] as SharedRange; // within the bounds
    if (at < range.start) high = middle - 1;
    else if (at >= range.end) low = middle + 1;
    else return range;
  }
  return undefined;
}
