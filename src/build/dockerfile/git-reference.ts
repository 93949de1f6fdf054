/** A git repository as Dockerfiles name it (Dockerfile reference, "ADD", and docs.docker.com/build/concepts/context, "Git repositories"). */
export type GitReference = {
  /** For git itself: without fragment and query. */
  readonly remote: string;
  readonly ref?: string | undefined;
  readonly subdirectory?: string | undefined;
  readonly checksum?: string | undefined;
  readonly keepGitDirectory?: boolean | undefined;
  readonly submodules?: boolean | undefined;
};

/** What is wrong with a git reference; the caller adds the place. */
export class GitReferenceError extends Error {
  override readonly name = 'GitReferenceError';
}

const scpStyle = /^([\w-]+)@([\w.-]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/;

/**
 * `git://…`, `ssh://…`, `user@host:path`, and http(s) when the path ends in `.git`; `#ref:subdirectory` or `?ref=…&subdir=…` behind it.
 * Undefined when the text names no repository. Throws GitReferenceError.
 */
export function parseGitReference(text: string): GitReference | undefined {
  const scp = scpStyle.exec(text);
  if (!/^[a-z0-9]+:\/\//i.test(text)) {
    return scp === null ? undefined : withOptions(`${scp[1]}@${scp[2]}:${scp[3]}`, new URLSearchParams(scp[4] ?? ''), scp[5] ?? '');
  }
  if (!/^(https?|git|ssh):\/\//i.test(text) || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (/^https?:$/.test(url.protocol) && !url.pathname.endsWith('.git')) return undefined;
  const fragment = decode(url.hash.slice(1));
  const query = url.searchParams;
  // The text up to there, not the URL written anew: git shall see what was written.
  return withOptions(text.replace(/[?#][\s\S]*$/, ''), query, fragment);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function withOptions(remote: string, query: URLSearchParams, fragment: string): GitReference {
  const colon = fragment.indexOf(':');
  const options: { -readonly [K in keyof GitReference]: GitReference[K] } = { remote };
  const fromFragment = colon < 0 ? fragment : fragment.slice(0, colon);
  if (fromFragment !== '') options.ref = fromFragment;
  if (colon >= 0) options.subdirectory = cleanDirectory(fragment.slice(colon + 1));
  const setRef = (value: string) => {
    if (options.ref !== undefined && options.ref !== value) throw new GitReferenceError(`two refs, ${options.ref} and ${value}`);
    options.ref = value;
  };
  for (const key of new Set(query.keys())) {
    const [value = '', ...more] = query.getAll(key);
    if (more.length > 0) throw new GitReferenceError(`${key} is given twice`);
    const flag = key === 'submodules' || key === 'keep-git-dir';
    if (value === '' && !flag) throw new GitReferenceError(`${key} has no value`);
    if (key === 'ref') setRef(value);
    else if (key === 'tag') setRef(value.startsWith('refs/tags/') ? value : `refs/tags/${value}`);
    else if (key === 'branch') setRef(value.startsWith('refs/heads/') ? value : `refs/heads/${value}`);
    else if (key === 'subdir') {
      const directory = cleanDirectory(value);
      if (options.subdirectory !== undefined && options.subdirectory !== directory) throw new GitReferenceError('two subdirectories');
      options.subdirectory = directory;
    } else if (key === 'checksum' || key === 'commit') options.checksum = value;
    else if (key === 'keep-git-dir') options.keepGitDirectory = flagValue(key, value);
    else if (key === 'submodules') options.submodules = flagValue(key, value);
    else
      throw new GitReferenceError(`there is no option ${key}; there are ref, tag, branch, subdir, checksum, keep-git-dir and submodules`);
  }
  if (options.subdirectory === '') delete options.subdirectory;
  return options;
}

function cleanDirectory(path: string): string {
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '..') names.pop();
    else if (name !== '' && name !== '.') names.push(name);
  }
  return names.join('/');
}

function flagValue(key: string, value: string): boolean {
  if (value === '' || /^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw new GitReferenceError(`${key} takes true or false, not ${value}`);
}
