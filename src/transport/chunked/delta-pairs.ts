import type { Hex } from '../../oci/digest.ts';
import { EntryType, type FileEntry } from '../../store/model.ts';
import type { StreamRecord } from './stream/records.ts';
import { FormReader, readRecord } from './stream/records.ts';
import type { StreamDirectory, TreeStream } from './stream/tree-stream.ts';

/** A file of a stream, and where its record begins there. */
export type PlacedFile = { readonly record: number; readonly file: StreamRecord & { entry: FileEntry } };
/** A file whose content the older tree lacks, and the one there that it most likely resembles, if there is one. */
export type FilePair = { readonly before: PlacedFile | undefined; readonly after: PlacedFile };

type Listing = { files: PlacedFile[]; directories: Map<string, StreamDirectory> };

/** A name is as good as another one that begins with as many of the same characters. */
const leastCommonPrefix = 3;
/** Contents whose sizes differ by more have little in common. */
const largestRatio = 4;

/**
 * Files of `after` whose content is nowhere in `before`, in the order of the stream, each content once, with what they are most likely made from: the file at the same path; a file of the
 * same directory that went away and has a name like it (`chunk-3f2a.js`); a file elsewhere with the same name in a directory of the same name. Directories that are as they
 * were are not looked into.
 */
export function findPairs(before: TreeStream, after: TreeStream): FilePair[] {
  return new PairFinder(before, after).run();
}

class PairFinder {
  readonly #before: TreeStream;
  readonly #after: TreeStream;
  readonly #pairs: FilePair[] = [];
  readonly #alone: { file: PlacedFile; parent: string }[] = [];
  readonly #seen = new Set<Hex>();

  constructor(before: TreeStream, after: TreeStream) {
    this.#before = before;
    this.#after = after;
  }

  run(): FilePair[] {
    this.#directory(0, 0, '');
    const pairs = this.#alone.length === 0 ? this.#pairs : this.#withFilesElsewhere();
    return pairs.sort((a, b) => a.after.record - b.after.record);
  }

  /** `old` is where the directory begins in the older stream, if it is there. */
  #directory(old: number | undefined, fresh: number, name: string): void {
    const was: Listing = old === undefined ? { files: [], directories: new Map() } : list(this.#before, old);
    const is = list(this.#after, fresh);
    const oldFiles = new Map(was.files.map((one) => [one.file.entry.name as string, one]));
    const lone: PlacedFile[] = [];
    for (const one of is.files) {
      const { object, size, name: own } = one.file.entry;
      const earlier = oldFiles.get(own);
      if (earlier !== undefined) oldFiles.delete(own);
      if (size === 0 || earlier?.file.entry.object === object || this.#seen.has(object)) continue;
      this.#seen.add(object);
      if (earlier === undefined || earlier.file.entry.size === 0) lone.push(one);
      else this.#pairs.push({ before: earlier, after: one });
    }
    const left = [...oldFiles.values()];
    for (const one of lone) {
      const like = likeliest(one, left);
      if (like === undefined) this.#alone.push({ file: one, parent: name });
      else this.#pairs.push({ before: like, after: one });
    }
    for (const [below, { start, content }] of is.directories) {
      const earlier = was.directories.get(below);
      if (earlier?.content !== content) this.#directory(earlier?.start, start, below);
    }
  }

  /** Looks at all of the older stream, once: what is only somewhere else there need not be sent at all. */
  #withFilesElsewhere(): FilePair[] {
    const wanted = new Set(this.#alone.map(({ file, parent }) => `${parent}/${file.file.entry.name}`));
    const objects = new Set<Hex>();
    const candidates = new Map<string, PlacedFile[]>();
    const reader = new FormReader(this.#before.bytes, 'a tree stream');
    const names: string[] = [];
    while (reader.offset < reader.end) {
      const record = reader.offset;
      const read = readRecord(reader);
      if (read === undefined) names.pop();
      else if (read.entry.type === EntryType.directory) names.push(read.entry.name);
      else if (read.entry.type === EntryType.file) {
        objects.add(read.entry.object);
        const key = `${names.at(-1) ?? ''}/${read.entry.name}`;
        if (!wanted.has(key) || read.entry.size === 0) continue;
        const placed = { record, file: { ...read, entry: read.entry } };
        const others = candidates.get(key);
        if (others === undefined) candidates.set(key, [placed]);
        else others.push(placed);
      }
    }
    const pairs = this.#pairs.filter(({ after }) => !objects.has(after.file.entry.object));
    for (const { file, parent } of this.#alone) {
      if (objects.has(file.file.entry.object)) continue;
      const before = closest(file, candidates.get(`${parent}/${file.file.entry.name}`) ?? []);
      pairs.push({ before, after: file });
    }
    return pairs;
  }
}

/** Entries of the directory that begins there, without what is below it. */
function list({ bytes, directories }: TreeStream, start: number): Listing {
  const listing: Listing = { files: [], directories: new Map() };
  const reader = new FormReader(bytes, 'a tree stream', start);
  while (reader.offset < reader.end) {
    const record = reader.offset;
    const read = readRecord(reader);
    if (read === undefined) break;
    const { entry } = read;
    if (entry.type === EntryType.file) listing.files.push({ record, file: { ...read, entry } });
    else if (entry.type === EntryType.directory) {
      const directory = directories.startingAt(reader.offset);
      if (directory === undefined) throw new Error('the table of a stream lacks one of its directories');
      listing.directories.set(entry.name, directory);
      reader.offset = directory.end;
    }
  }
  return listing;
}

/** Of files of the same directory. */
function likeliest(one: PlacedFile, candidates: readonly PlacedFile[]): PlacedFile | undefined {
  const { name } = one.file.entry;
  const alike = candidates.filter(({ file }) => extension(file.entry.name) === extension(name));
  let longest = leastCommonPrefix;
  let best: PlacedFile[] = [];
  for (const candidate of alike) {
    const common = commonPrefix(candidate.file.entry.name, name);
    if (common < longest) continue;
    if (common > longest) best = [];
    longest = common;
    best.push(candidate);
  }
  return closest(one, best);
}

/** By size. */
function closest({ file: { entry } }: PlacedFile, candidates: readonly PlacedFile[]): PlacedFile | undefined {
  let best: PlacedFile | undefined;
  let least = largestRatio;
  for (const candidate of candidates) {
    const { size } = candidate.file.entry;
    const ratio = Math.max(size, entry.size) / Math.max(1, Math.min(size, entry.size));
    if (ratio >= least) continue;
    least = ratio;
    best = candidate;
  }
  return best;
}

function extension(name: string): string {
  const dot = name.lastIndexOf('.');
  return dot < 0 ? '' : name.slice(dot);
}

function commonPrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}
