import type { ByteString } from '../base/bytes.ts';
import { toBytes } from '../base/bytes.ts';
import { EngineError } from '../base/errors.ts';

/**
 * Decides which paths of a build context a .dockerignore leaves out. Paths are relative, `/` between names, bytes (ByteString) or ASCII.
 *
 * A directory that is ignored can still hold something that a later `!` pattern brings back: a walker asks `mayContainIncluded` before it
 * skips the directory, and keeps an ignored directory when anything below it is kept.
 */
export type Ignore = {
  ignores(path: string, isDirectory: boolean): boolean;
  /** Whether an entry below this ignored directory could be brought back. `false` is certain, `true` is not. */
  mayContainIncluded(dir: string): boolean;
};

type Pattern = {
  readonly negated: boolean;
  matches(path: string): boolean;
  /** Matchers of the single names, for `mayContainIncluded`; `undefined` stands for any number of names (`**`). */
  readonly names: readonly (((name: string) => boolean) | undefined)[];
};

/**
 * Reads the lines of a .dockerignore (docs.docker.com/build/concepts/context, ".dockerignore files"). A pattern matches a path or any of
 * its parents and the last match wins. `#` starts a comment in column 0 only; spaces around a pattern, a byte order mark, a leading `/`,
 * `./`, doubled and trailing slashes do not count; `*` and `?` stop at `/`, `**` does not. Case counts.
 *
 * `what` is what errors call the lines. Throws InvalidArgument `IGNORE_PATTERN_INVALID` with the line number for an unclosed `[`, a trailing backslash or a lone `!`.
 */
export function createIgnore(lines: readonly string[], what = 'the .dockerignore file'): Ignore {
  const patterns: Pattern[] = [];
  lines.forEach((line, index) => {
    const pattern = parseLine(index === 0 ? line.replace(/^(\u{feff}|\xef\xbb\xbf)/u, '') : line, index + 1, what);
    if (pattern !== undefined) patterns.push(pattern);
  });
  if (patterns.length === 0) return { ignores: () => false, mayContainIncluded: () => false };

  // What each directory on the way matched, so that a path's parents are not matched again for each of 100,000 siblings.
  const directories = new Map<string, Uint8Array>();
  const matchesOf = (path: string): Uint8Array => {
    const known = directories.get(path);
    if (known !== undefined) return known;
    const matches = matchAll(patterns, path, parentMatches(path));
    directories.set(path, matches);
    return matches;
  };
  const parentMatches = (path: string): Uint8Array | undefined => {
    const slash = path.lastIndexOf('/');
    return slash < 0 ? undefined : matchesOf(path.slice(0, slash));
  };

  return {
    ignores(path, isDirectory) {
      if (path === '' || path === '.') return false;
      return verdict(patterns, isDirectory ? matchesOf(path) : matchAll(patterns, path, parentMatches(path)));
    },
    mayContainIncluded(dir) {
      const names = dir === '' || dir === '.' ? [] : dir.split('/');
      return patterns.some((pattern) => pattern.negated && reachesBelow(pattern.names, names));
    },
  };
}

/** One byte a pattern: 1 when it, in its turn, matched the path or one of its parents. */
function matchAll(patterns: readonly Pattern[], path: string, parent: Uint8Array | undefined): Uint8Array {
  const matches = new Uint8Array(patterns.length);
  let ignored = false;
  patterns.forEach((pattern, index) => {
    // A pattern that cannot change the verdict at its turn is not tried (and does not count for the children): BuildKit's order of rules.
    const matched = parent?.[index] === 1 || (pattern.negated === ignored && pattern.matches(path));
    if (!matched) return;
    matches[index] = 1;
    ignored = !pattern.negated;
  });
  return matches;
}

function verdict(patterns: readonly Pattern[], matches: Uint8Array): boolean {
  const last = matches.lastIndexOf(1);
  return last >= 0 && patterns[last]?.negated === false;
}

function reachesBelow(pattern: Pattern['names'], names: readonly string[]): boolean {
  for (const [index, name] of names.entries()) {
    if (index >= pattern.length) return false;
    const matches = pattern[index];
    if (matches === undefined) return true;
    if (!matches(name)) return false;
  }
  return pattern.length > names.length;
}

function parseLine(line: string, lineNumber: number, what: string): Pattern | undefined {
  if (line.startsWith('#')) return undefined;
  let text = line.trim();
  if (text === '') return undefined;
  const negated = text.startsWith('!');
  if (negated) text = text.slice(1).trim();
  if (text === '') throw invalid({ lineNumber, what }, line, 'nothing follows the "!"');
  const path = cleanPath(text);
  // Docker ignores `.` for historical reasons; `/` names the root, which cannot be left out.
  if (path === '.' || path === '/') return undefined;
  const fault = findFault(path);
  if (fault !== undefined) throw invalid({ lineNumber, what }, line, fault);
  const bytes = toBytes(path);
  try {
    const names = bytes.split('/').map((name) => (name.includes('**') ? undefined : compile(name as ByteString)));
    return { negated, matches: compile(bytes), names };
  } catch (error) {
    if (error instanceof SyntaxError) throw invalid({ lineNumber, what }, line, 'a range between "[" and "]" runs backwards');
    throw error;
  }
}

function invalid({ lineNumber, what }: { lineNumber: number; what: string }, line: string, fault: string): EngineError {
  return new EngineError('InvalidArgument', 'IGNORE_PATTERN_INVALID', `line ${lineNumber} of ${what}, "${line.trim()}": ${fault}`, {
    hint: 'Correct the pattern; a backslash before a character takes it literally.',
  });
}

/** Go's filepath.Clean, then without a leading slash. */
function cleanPath(path: string): string {
  const rooted = path.startsWith('/');
  const kept: string[] = [];
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue;
    if (name === '..' && kept.length > 0 && kept.at(-1) !== '..') kept.pop();
    else if (name !== '..' || !rooted) kept.push(name);
  }
  if (kept.length === 0) return rooted ? '/' : '.';
  return kept.join('/');
}

function findFault(pattern: string): string | undefined {
  for (let at = 0; at < pattern.length; at++) {
    if (pattern[at] === '\\') {
      at++;
      if (at >= pattern.length) return 'it ends in a backslash';
    } else if (pattern[at] === '[') {
      const end = classEnd(pattern, at);
      if (end === undefined) return 'a "[" has no closing "]"';
      at = end;
    }
  }
  return undefined;
}

/** Index of the `]` that closes the class at `start`; a class has at least one member. */
function classEnd(pattern: string, start: number): number | undefined {
  let at = start + 1;
  if (pattern[at] === '^') at++;
  const first = at;
  for (; at < pattern.length; at++) {
    if (pattern[at] === '\\') at++;
    else if (pattern[at] === ']') return at === first ? undefined : at;
  }
  return undefined;
}

// One character of UTF-8, or one byte of something else; never a slash.
const anyCharacter = '(?:[\\xc0-\\xff][\\x80-\\xbf]+|[^/])';

function compile(pattern: ByteString): (path: string) => boolean {
  if (!/[*?[\\]/.test(pattern)) return (path) => path === pattern;
  const leading = /^\*\*(\/?)([^*?[\\]*)$/.exec(pattern);
  // `**/name` is by far the commonest glob, and `**name` matches any path that ends so.
  if (leading !== null) {
    const [, slash, rest = ''] = leading;
    if (slash === '') return (path) => path.endsWith(rest);
    return (path) => path === rest || path.endsWith(`/${rest}`);
  }
  const source = new RegExp(`^${translate(pattern)}$`, 's');
  return (path) => source.test(path);
}

function translate(pattern: string): string {
  let source = '';
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? '';
    if (character === '*' && pattern[at + 1] === '*') {
      at++;
      if (pattern[at + 1] === '/') at++;
      const part = at + 1 >= pattern.length ? '.*' : '(?:.*/)?';
      if (!source.endsWith(part)) source += part;
    } else if (character === '*') source += '[^/]*';
    else if (character === '?') source += anyCharacter;
    else if (character === '[') {
      const end = classEnd(pattern, at) ?? pattern.length - 1;
      source += translateClass(pattern.slice(at + 1, end));
      at = end;
    } else if (character === '\\') {
      at++;
      source += literal(pattern[at] ?? '');
    } else source += literal(character);
  }
  return source;
}

function translateClass(members: string): string {
  const negated = members.startsWith('^');
  let source = '';
  for (let at = negated ? 1 : 0; at < members.length; at++) {
    const character = members[at] ?? '';
    if (character === '\\') {
      at++;
      source += classLiteral(members[at] ?? '');
    } else source += character === '-' ? '-' : classLiteral(character);
  }
  return negated ? `[^/${source}]` : `(?!/)[${source}]`;
}

function literal(character: string): string {
  return /[\w/ ]/.test(character) ? character : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

function classLiteral(character: string): string {
  return /[\w ]/.test(character) ? character : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
