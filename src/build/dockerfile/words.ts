/** A word as written (quotes and escapes kept) and where it begins in the text that was split. */
export type Word = { readonly text: string; readonly offset: number };

const space = /\s/u;

/** Splits at spaces that are neither quoted nor escaped; quotes and escapes stay for the expansion to remove. */
export function splitWords(text: string, escapeCharacter: string): Word[] {
  const words: Word[] = [];
  let at = 0;
  while (at < text.length) {
    if (space.test(text[at] ?? '')) {
      at++;
      continue;
    }
    const offset = at;
    let word = '';
    let quote: string | undefined;
    for (; at < text.length; at++) {
      const character = text[at] ?? '';
      if (quote === undefined && space.test(character)) break;
      if (character === escapeCharacter && quote !== "'") {
        // An escape at the very end escapes nothing and is dropped.
        if (at + 1 === text.length) break;
        word += character + (text[++at] ?? '');
        continue;
      }
      if (quote === character) quote = undefined;
      else if (quote === undefined && (character === '"' || character === "'")) quote = character;
      word += character;
    }
    if (at < text.length || word !== '') words.push({ text: word, offset });
    if (text[at] === escapeCharacter) break;
  }
  return words;
}

/** Splits at runs of spaces, whatever is quoted. */
export function splitSpaces(text: string): Word[] {
  return Array.from(text.matchAll(/[^\t\v\f\r ]+/g), (match) => ({ text: match[0], offset: match.index }));
}

/** The leading `--name=value` words of an instruction, quotes and escapes removed, and where its other arguments begin. */
export function splitFlags(text: string, escapeCharacter: string): { flags: Word[]; rest: number } {
  const flags: Word[] = [];
  let at = 0;
  for (;;) {
    while (space.test(text[at] ?? '')) at++;
    if (!text.startsWith('--', at)) return { flags, rest: at };
    const offset = at;
    let word = '';
    let quote: string | undefined;
    for (; at < text.length; at++) {
      const character = text[at] ?? '';
      if (quote === undefined && space.test(character)) break;
      if (character === quote) quote = undefined;
      else if (quote === undefined && (character === '"' || character === "'")) quote = character;
      else if (character === escapeCharacter) word += text[++at] ?? '';
      else word += character;
    }
    // A lone `--` ends the flags.
    if (word === '--') return { flags, rest: at };
    flags.push({ text: word, offset });
  }
}

/** `not-json` when the text is no JSON array (then it is the shell form); `not-strings` when it is one of other things. */
export function parseJsonArray(text: string): string[] | 'not-json' | 'not-strings' {
  if (!text.trimStart().startsWith('[')) return 'not-json';
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return 'not-json';
  }
  if (!Array.isArray(parsed)) return 'not-json';
  return parsed.every((item) => typeof item === 'string') ? parsed : 'not-strings';
}
