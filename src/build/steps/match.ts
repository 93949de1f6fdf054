import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';

/** One name of a pattern, compiled. */
type NameMatcher = (name: ByteString) => boolean;

/**
 * Compiles a pattern of Go's filepath.Match, a matcher for each of its names: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]` are classes, `\`
 * takes the next character literally. Case counts, hidden files match. Throws InvalidArgument `PATTERN_INVALID`.
 */
export function compilePattern(pattern: ByteString): NameMatcher[] {
  return splitNames(pattern).map((name) => compileName(name, pattern));
}

/** At `/` outside of classes. */
function splitNames(pattern: string): string[] {
  const names: string[] = [];
  let name = '';
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? '';
    if (character === '/') {
      names.push(name);
      name = '';
    } else if (character === '\\') name += character + (pattern[++at] ?? '');
    else name += character;
  }
  return [...names, name].filter((item) => item !== '');
}

type Token =
  | { kind: 'any' }
  | { kind: 'one' }
  | { kind: 'literal'; byte: string }
  | { kind: 'class'; negated: boolean; ranges: [string, string][] };

function compileName(name: string, pattern: string): NameMatcher {
  const tokens: Token[] = [];
  for (let at = 0; at < name.length; at++) {
    const character = name[at] ?? '';
    if (character === '*') {
      if (tokens.at(-1)?.kind !== 'any') tokens.push({ kind: 'any' });
    } else if (character === '?') tokens.push({ kind: 'one' });
    else if (character === '[') {
      const parsed = parseClass(name, at + 1);
      if (parsed === undefined) throw invalid(pattern);
      tokens.push(parsed.token);
      at = parsed.end;
    } else if (character === '\\') {
      const literal = name[++at];
      if (literal === undefined) throw invalid(pattern);
      tokens.push({ kind: 'literal', byte: literal });
    } else tokens.push({ kind: 'literal', byte: character });
  }
  return (candidate) => matches(tokens, candidate);
}

function parseClass(text: string, start: number): { token: Token; end: number } | undefined {
  const ranges: [string, string][] = [];
  let at = start;
  const negated = text[at] === '^';
  if (negated) at++;
  const member = (): string | undefined => {
    const escaped = text[at] === '\\';
    if (escaped) at++;
    const character = text.slice(at, at + characterLength(text, at));
    at += character.length;
    return character === '' || (!escaped && (character === '-' || character === ']')) ? undefined : character;
  };
  while (text[at] !== ']' || ranges.length === 0) {
    const low = member();
    if (low === undefined) return undefined;
    let high: string | undefined = low;
    if (text[at] === '-') {
      at++;
      high = member();
    }
    if (high === undefined) return undefined;
    ranges.push([low, high]);
  }
  return { token: { kind: 'class', negated, ranges }, end: at };
}

/** Positions reached in the name, carried through the pattern: linear in each, whatever the stars. A character is one of UTF-8. */
function matches(tokens: readonly Token[], name: string): boolean {
  let positions = new Set([0]);
  for (const token of tokens) {
    const next = new Set<number>();
    if (token.kind === 'any') for (let at = Math.min(...positions); at <= name.length; at++) next.add(at);
    else {
      for (const at of positions) {
        const end = step(token, name, at);
        if (end !== undefined) next.add(end);
      }
    }
    if (next.size === 0) return false;
    positions = next;
  }
  return positions.has(name.length);
}

function step(token: Exclude<Token, { kind: 'any' }>, name: string, at: number): number | undefined {
  const byte = name[at];
  if (byte === undefined) return undefined;
  if (token.kind === 'literal') return byte === token.byte ? at + 1 : undefined;
  const end = at + characterLength(name, at);
  if (token.kind === 'one') return end;
  // UTF-8 sorts as its characters do.
  const character = name.slice(at, end);
  const inside = token.ranges.some(([low, high]) => low <= character && character <= high);
  return inside !== token.negated ? end : undefined;
}

function characterLength(name: string, at: number): number {
  const lead = name.charCodeAt(at);
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  for (let i = 1; i < length; i++) if ((name.charCodeAt(at + i) & 0xc0) !== 0x80) return 1;
  return length;
}

function invalid(pattern: string): EngineError {
  return new EngineError('InvalidArgument', 'PATTERN_INVALID', `${pattern} is not a pattern: a "[" is not closed or a backslash ends it`);
}
