/** What to send of a folder: the metadata of FileSync's DiffCopy (buildkit session/filesync). */
export type FileSelection = {
  /** Name under which the client offers the folder. */
  name: string;
  /** The same for selections that are compared with each other: only what changed since the last one of that kind comes. */
  kind: 'context' | 'definition' | 'ignore';
  /** Paths and what their symlinks lead to; all when not given. */
  followPaths?: readonly string[] | undefined;
  includePatterns?: readonly string[] | undefined;
  /** Lines of a .dockerignore, in BuildKit's form. */
  excludePatterns?: readonly string[] | undefined;
};

export function metadataOf(selection: FileSelection): Record<string, readonly string[]> {
  const metadata: Record<string, readonly string[]> = {};
  put(metadata, 'dir-name', [selection.name]);
  put(metadata, 'followpaths', selection.followPaths);
  put(metadata, 'include-patterns', selection.includePatterns);
  put(metadata, 'exclude-patterns', selection.excludePatterns);
  return metadata;
}

/** Values that are not ASCII are escaped, and a second key says so. */
function put(metadata: Record<string, readonly string[]>, key: string, values: readonly string[] | undefined): void {
  if (values === undefined || values.length === 0) return;
  const plain = values.every((value) => /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value));
  metadata[key] = plain ? values : values.map((value) => encodeURIComponent(value));
  if (!plain) metadata[`${key}-encoded`] = ['1'];
}
