import { closeSync, openSync, readSync } from 'node:fs';
import { type ByteString, toText } from '../../base/bytes.ts';
import { type Hex, newHash, sha256 } from '../../oci/digest.ts';
import { createIgnore, type Ignore } from '../../oci/ignore.ts';
import { type DirectoryEntry, type Entry, EntryType, type Root, type TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { findEntry, isAtOrBelow, isDirectory, joinPath } from '../../store/tree/entries.ts';
import { resolveNow, resolvePath } from '../../store/tree/resolve.ts';
import { canonical } from '../solver/keys.ts';
import { archiveHeadBytes, looksLikeArchive } from './archive.ts';
import { compilePattern } from './match.ts';

export type CopySourcesParams = {
  tree: TreeId;
  sources: { path: ByteString; wildcard: boolean; unpack: boolean /** As in CopySource. */; parents?: ByteString | undefined }[];
  excludes: string[];
  /** They are looked at where they are, by a mount: a directory's own metadata counts, too; with `times`, all times. */
  mounted?: { times: boolean } | undefined;
};

/** One file or directory to copy. */
export type CopyMatch = {
  /** Where it really is: relative, symlinks resolved. '' is the root. */
  path: ByteString;
  /** The name under which it was asked for, which it keeps. */
  name: ByteString;
  isDirectory: boolean;
  /** What an archive's bytes are named, when it is to be extracted. */
  archive?: Hex | undefined;
  /** Paths below that are left out. */
  exclude: ByteString[];
};

export type CopySourcesResult = {
  /** One for each source, in order. `missing` when a path without wildcards is not there. */
  sources: { matches: CopyMatch[]; missing: boolean; digest: Hex }[];
};

/**
 * `build.copySources`: finds what the sources of a COPY name inside a tree, as BuildKit does: symlinks in a path are followed inside the tree, the last
 * one too; a wildcard is matched below its fixed part without following links, and not below a match. `digest` covers everything that is copied and
 * under which names, but no times.
 */
export function copySources(context: TreeContext, params: CopySourcesParams): CopySourcesResult {
  const finder = new SourceFinder(context, params);
  return { sources: params.sources.map((source) => finder.find(source)) };
}

class SourceFinder {
  readonly #context: TreeContext;
  readonly #root: Root;
  readonly #ignore: Ignore | undefined;
  readonly #mounted: CopySourcesParams['mounted'];

  constructor(context: TreeContext, params: CopySourcesParams) {
    this.#context = context;
    this.#root = context.root(params.tree);
    this.#mounted = params.mounted;
    this.#ignore = params.excludes.length === 0 ? undefined : createIgnore(params.excludes);
  }

  find(source: CopySourcesParams['sources'][number]): CopySourcesResult['sources'][number] {
    const found = source.wildcard ? this.#expand(source.path) : [source.path];
    const matches: CopyMatch[] = [];
    const digests: unknown[] = [];
    let missing = false;
    for (const path of found) {
      const resolved = this.#resolve(path);
      if (resolved === undefined) {
        missing = true;
        continue;
      }
      const { entry, path: real } = resolved;
      if (source.parents !== undefined && entry !== undefined && !isDirectory(entry)) {
        missing ||= !source.wildcard;
        continue;
      }
      const include = source.parents === undefined ? undefined : onlyBelow(source.parents);
      const exclude = this.#excluded(real, entry, include);
      if (exclude === 'all') {
        missing ||= !source.wildcard && !/[*?[]/.test(source.parents ?? '');
        if (missing) continue;
      }
      const left = exclude === 'all' ? this.#children(real, entry) : exclude;
      const archive = source.unpack && entry?.type === EntryType.file && this.#isArchive(entry.object) ? entry.object : undefined;
      const name = path.slice(path.lastIndexOf('/') + 1) as ByteString;
      const directory = entry === undefined || isDirectory(entry);
      matches.push({ path: real, name, isDirectory: directory, archive, exclude: left });
      digests.push(
        this.#mounted === undefined ? [name, archive !== undefined, this.#digest(real, entry, left)] : this.#mountDigest(real, entry),
      );
    }
    return { matches, missing, digest: sha256(canonical(digests)) };
  }

  /** `entry` is undefined for the root. */
  #resolve(path: ByteString): { path: ByteString; entry: Entry | undefined } | undefined {
    const resolved = resolveNow(resolvePath(this.#root.full, path, { follow: true }), ({ directory, name }) => {
      const entry = findEntry(this.#context.node(directory), name);
      if (entry === undefined) return undefined;
      if (entry.type === EntryType.symlink) return { link: entry.target };
      return isDirectory(entry) ? { directory: entry.full } : {};
    });
    if (resolved === undefined || !resolved.exists) return undefined;
    if (resolved.parent === undefined || resolved.name === undefined) {
      // The root itself, or a path that ends in `..`, which lies on an ancestor of where it was.
      return resolved.path === '' ? { path: resolved.path, entry: undefined } : this.#resolve(resolved.path);
    }
    return { path: resolved.path, entry: findEntry(this.#context.node(resolved.parent), resolved.name) };
  }

  #expand(pattern: ByteString): ByteString[] {
    const names = pattern.split('/').filter((name) => name !== '');
    const first = names.findIndex((name) => /[*?[]/.test(name.replace(/\\[\s\S]/g, '')));
    const fixed = names.slice(0, first).map((name) => name.replace(/\\([\s\S])/g, '$1'));
    const base = this.#resolve(fixed.join('/') as ByteString);
    if (base === undefined || (base.entry !== undefined && !isDirectory(base.entry))) return [];
    const matchers = compilePattern(names.slice(first).join('/') as ByteString);
    const found: ByteString[] = [];
    const walk = (full: Hex, path: ByteString, relative: ByteString, depth: number) => {
      const matcher = matchers[depth];
      if (matcher === undefined) return;
      for (const entry of this.#context.node(full)) {
        if (!matcher(entry.name)) continue;
        const below = joinPath(path, entry.name);
        const belowRelative = joinPath(relative, entry.name);
        if (depth < matchers.length - 1) {
          if (isDirectory(entry)) walk(entry.full, below, belowRelative, depth + 1);
        } else if (this.#ignore?.ignores(belowRelative, isDirectory(entry)) !== true) found.push(below);
      }
    };
    walk(base.entry === undefined ? this.#root.full : (base.entry as DirectoryEntry).full, base.path, '' as ByteString, 0);
    return found;
  }

  /** What is left out of a directory; `all` when `include` leaves nothing in. */
  #excluded(path: ByteString, entry: Entry | undefined, include: Ignore | undefined): ByteString[] | 'all' {
    const rules = [this.#ignore, include].filter((rule) => rule !== undefined);
    if (rules.length === 0 || (entry !== undefined && !isDirectory(entry))) return [];
    const result: ByteString[] = [];
    /** Whether anything below stays. */
    const walk = (full: Hex, at: ByteString, relative: ByteString): boolean => {
      let keeps = false;
      for (const child of this.#context.node(full)) {
        const childPath = joinPath(at, child.name);
        const childRelative = joinPath(relative, child.name);
        const ignoring = rules.filter((rule) => rule.ignores(childRelative, isDirectory(child)));
        let kept = ignoring.length === 0;
        if (isDirectory(child) && ignoring.every((rule) => rule.mayContainIncluded(childRelative))) {
          const before = result.length;
          const keepsBelow = walk(child.full, childPath, childRelative);
          if (!kept && !keepsBelow) result.length = before;
          kept ||= keepsBelow;
        }
        if (!kept) result.push(childPath);
        keeps ||= kept;
      }
      return keeps;
    };
    const keeps = walk(entry === undefined ? this.#root.full : (entry as DirectoryEntry).full, path, '' as ByteString);
    return include === undefined || keeps ? result : 'all';
  }

  #children(path: ByteString, entry: Entry | undefined): ByteString[] {
    return this.#context
      .node(entry === undefined ? this.#root.full : (entry as DirectoryEntry).full)
      .map((child) => joinPath(path, child.name));
  }

  #isArchive(object: Hex): boolean {
    const fd = openSync(this.#context.objectPath(object), 'r');
    try {
      const head = Buffer.alloc(archiveHeadBytes);
      return looksLikeArchive(head.subarray(0, readSync(fd, head, 0, head.length, 0)));
    } finally {
      closeSync(fd);
    }
  }

  /** All that a process can see at a mount of it but where it came from. */
  #mountDigest(path: ByteString, entry: Entry | undefined): unknown {
    const { mode, uid, gid, xattrs = [], mtimeSec, mtimeNsec } = entry ?? this.#root;
    const own = [entry?.type ?? EntryType.directory, mode, uid, gid, xattrs];
    if (this.#mounted?.times !== true) return ['mounted', own, this.#digest(path, entry, [])];
    const below = entry === undefined ? this.#root.full : isDirectory(entry) ? entry.full : '';
    return ['mounted', own, this.#digest(path, entry, []), mtimeSec, mtimeNsec, below];
  }

  /** A directory's own metadata does not count: only its contents are copied. */
  #digest(path: ByteString, entry: Entry | undefined, exclude: readonly ByteString[]): Hex {
    const hash = newHash();
    const excluded = new Set<string>(exclude);
    const addBelow = (full: Hex, at: ByteString) => {
      for (const child of this.#context.node(full)) {
        const childPath = joinPath(at, child.name);
        if (excluded.has(childPath)) continue;
        const partial = isDirectory(child) && exclude.some((item) => isAtOrBelow(item, childPath));
        hash.update(canonical([childPath, contentOf(child, !partial)]));
        if (partial) addBelow(child.full, childPath);
      }
    };
    if (entry !== undefined && !isDirectory(entry)) hash.update(canonical(contentOf(entry, true)));
    else if (exclude.length === 0) hash.update(entry === undefined ? this.#root.content : entry.content);
    else addBelow(entry === undefined ? this.#root.full : entry.full, path);
    for (const group of this.#root.hardlinks) {
      const inside = group.filter((link) => isAtOrBelow(link, path) && !exclude.some((item) => isAtOrBelow(link, item)));
      if (inside.length > 1) hash.update(canonical(inside.map((link) => link.slice(path.length))));
    }
    return hash.digest('hex') as Hex;
  }
}

/** `--parents`: everything is left out but what the pattern names, and what is below that. */
function onlyBelow(pattern: ByteString): Ignore | undefined {
  return pattern === '' ? undefined : createIgnore(['*', `!/${toText(pattern)}`]);
}

/** What a copy takes over of an entry, without its name and times. */
function contentOf(entry: Entry, deep: boolean): unknown {
  const { type, mode, uid, gid, xattrs = [] } = entry;
  const body = (): unknown => {
    if (entry.type === EntryType.file) return [entry.size, entry.object];
    if (entry.type === EntryType.directory) return deep ? entry.content : '';
    if (entry.type === EntryType.symlink) return entry.target;
    return entry.type === EntryType.fifo ? '' : [entry.major, entry.minor];
  };
  return [type, mode, uid, gid, xattrs, body()];
}
