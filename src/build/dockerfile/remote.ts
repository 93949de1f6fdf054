import { posix } from 'node:path';
import type { GraphBuilder } from '../graph/builder.ts';
import type { VertexId } from '../graph/vertex.ts';
import { type GitReference, GitReferenceError, parseGitReference } from './git-reference.ts';
import type { Location, Source } from './source.ts';
import { placeOf } from './stage.ts';

export type RemoteOptions = {
  readonly source: Source;
  readonly location: Location;
  /** The file's name in its tree; from the URL when not given. */
  readonly name?: string | undefined;
  readonly checksum?: string | undefined;
  readonly keepGitDirectory?: boolean | undefined;
  readonly unpack?: boolean | undefined;
};

/** Adds the vertex that fetches a URL. `path` is what it brings: one file, or all of the tree. */
export function remoteVertex(graph: GraphBuilder, url: string, options: RemoteOptions): { vertex: VertexId; path: string } {
  const reference = gitReference(url, options);
  return reference === undefined ? httpVertex(graph, url, options) : { vertex: gitVertex(graph, reference, options), path: '/' };
}

export function isHttp(text: string): boolean {
  return /^https?:\/\//.test(text);
}

/** The repository that a source of ADD names, or undefined. Throws InvalidArgument with the place. */
export function gitReference(text: string, { source, location }: { source: Source; location: Location }): GitReference | undefined {
  try {
    return parseGitReference(text);
  } catch (error) {
    if (!(error instanceof GitReferenceError)) throw error;
    throw source.invalid('SOURCE_INVALID', location, `${withoutCredentials(text)}: ${error.message}`);
  }
}

function httpVertex(graph: GraphBuilder, url: string, options: RemoteOptions): { vertex: VertexId; path: string } {
  const { source, location, checksum, unpack } = options;
  if (!URL.canParse(url)) throw source.invalid('SOURCE_INVALID', location, `${url} is not a URL`);
  if (checksum !== undefined && !/^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/.test(checksum)) {
    throw source.invalid('CHECKSUM_INVALID', location, `--checksum=${checksum} is not a digest`, 'Write sha256: and 64 hex digits.');
  }
  const filename = options.name ?? filenameOf(url);
  const vertex = graph.add({
    name: `fetch ${withoutCredentials(url)}`,
    lineage: `http|${url}`,
    operation: { kind: 'http', url, filename, checksum, ...(unpack === true ? { unpack } : {}) },
    place: placeOf(source, location),
  });
  return { vertex, path: unpack === true ? '/' : `/${filename}` };
}

/** What a file from a URL is called, as BuildKit has it. */
export function filenameOf(url: string): string {
  const base = decodedName(posix.basename(new URL(url).pathname));
  return base === '' ? '__unnamed__' : base;
}

function decodedName(text: string): string {
  try {
    const name = decodeURIComponent(text);
    const usable = !/[/\0]/.test(name) && name !== '..' && name !== '.' && Buffer.byteLength(name) <= 255;
    return usable ? name : '';
  } catch {
    return Buffer.byteLength(text) <= 255 ? text : '';
  }
}

function gitVertex(graph: GraphBuilder, reference: GitReference, options: RemoteOptions): VertexId {
  const { source, location } = options;
  const fail = (message: string) => source.invalid('SOURCE_INVALID', location, message);
  const kept = pickOne(reference.keepGitDirectory, options.keepGitDirectory, () => fail('--keep-git-dir and the URL say different things'));
  const checksum = pickOne(reference.checksum, options.checksum, () => fail('--checksum and the URL say different things'));
  if (checksum !== undefined && !/^[0-9a-f]{7,64}$/.test(checksum)) {
    throw source.invalid('CHECKSUM_INVALID', location, `${checksum} is not a commit`, 'Write at least 7 hex digits of it.');
  }
  const { remote, ref, subdirectory } = reference;
  return graph.add({
    name: `clone ${withoutCredentials(remote)}${ref === undefined ? '' : `#${ref}`}`,
    lineage: `git|${remote}|${ref ?? ''}`,
    operation: {
      kind: 'git',
      remote,
      ref,
      subdirectory,
      keepGitDirectory: kept ?? false,
      submodules: reference.submodules ?? true,
      checksum,
    },
    place: placeOf(source, location),
  });
}

function pickOne<T>(first: T | undefined, second: T | undefined, differ: () => Error): T | undefined {
  if (first !== undefined && second !== undefined && first !== second) throw differ();
  return first ?? second;
}

/** For names of steps and for errors. */
export function withoutCredentials(url: string): string {
  return url.replace(/^([a-z0-9+]+:\/\/)[^/?#@]*@/i, '$1');
}
