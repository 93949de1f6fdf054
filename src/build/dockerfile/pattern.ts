/** What is wrong with a word; the caller adds the place. */
export class ExpansionError extends Error {
  override readonly name = 'ExpansionError';
}

/** A shell pattern without brackets: `*` any text, `?` one character, `\` before `*` `?` `\` `}` `/` takes it literally. */
type Token = { kind: 'any' } | { kind: 'one' } | { kind: 'literal'; character: string };

function tokens(pattern: string): Token[] {
  const result: Token[] = [];
  const characters = Array.from(pattern);
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? '';
    if (character === '*') result.push({ kind: 'any' });
    else if (character === '?') result.push({ kind: 'one' });
    else if (character === '\\') {
      const escaped = characters[++at];
      if (escaped === undefined || !'*?\\}/'.includes(escaped)) {
        throw new ExpansionError(`invalid escape '\\${escaped ?? ''}' in the pattern ${pattern}`);
      }
      result.push({ kind: 'literal', character: escaped });
    } else result.push({ kind: 'literal', character });
  }
  return result;
}

/** Steps that one substitution may take: some tenths of a second. */
class Budget {
  #left = 20_000_000;

  spend(steps: number): void {
    this.#left -= steps;
    if (this.#left < 0) throw new ExpansionError('the value and the pattern are too long to match');
  }
}

/**
 * The lengths of prefixes of `text` (from `start`) that match, shortest or longest. Positions are kept as a set that moves through the
 * pattern, so the time is pattern × text whatever the pattern; a backtracking expression would take a pattern like `*a*a*a*b` as a bomb.
 */
function matchLength(
  pattern: readonly Token[],
  text: readonly string[],
  start: number,
  longest: boolean,
  budget: Budget,
): number | undefined {
  let positions = [start];
  for (const token of pattern) {
    budget.spend(positions.length + (token.kind === 'any' ? text.length - start : 0));
    const [first] = positions;
    if (first === undefined) return undefined;
    if (token.kind === 'any') positions = Array.from({ length: text.length - first + 1 }, (_, index) => first + index);
    else {
      positions = positions.filter((at) => at < text.length && (token.kind === 'one' || text[at] === token.character)).map((at) => at + 1);
    }
  }
  const end = longest ? positions.at(-1) : positions[0];
  return end === undefined ? undefined : end - start;
}

/** `${v#pattern}` and `${v##pattern}`. */
export function trimPrefixPattern(value: string, pattern: string, longest: boolean): string {
  const text = Array.from(value);
  const length = matchLength(tokens(pattern), text, 0, longest, new Budget());
  return length === undefined ? value : text.slice(length).join('');
}

/** `${v%pattern}` and `${v%%pattern}`: the same on the reversed text, since the shortest suffix is not a leftmost match. */
export function trimSuffixPattern(value: string, pattern: string, longest: boolean): string {
  const text = Array.from(value).reverse();
  const length = matchLength(tokens(pattern).reverse(), text, 0, longest, new Budget());
  return length === undefined ? value : text.slice(length).reverse().join('');
}

/** `${v/pattern/text}` (the first longest match) and `${v//pattern/text}` (all of them). An empty match is replaced once. */
export function replacePattern(value: string, pattern: string, replacement: string, all: boolean): string {
  const parsed = tokens(pattern);
  const budget = new Budget();
  const text = Array.from(value);
  let result = '';
  let at = 0;
  let replaced = false;
  while (at <= text.length) {
    const length = replaced && !all ? undefined : matchLength(parsed, text, at, true, budget);
    if (length !== undefined) {
      result += replacement;
      replaced = true;
    }
    if (length === undefined || length === 0) {
      result += text[at] ?? '';
      at++;
    } else at += length;
  }
  return result;
}
