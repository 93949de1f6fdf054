import { usageError } from '../flags.ts';

/** A piece of a template: literal text, or the tokens between `{{` and `}}`. */
export type Piece = { text: string } | { tokens: Token[]; source: string };
export type Token =
  | { kind: 'field'; names: string[]; glued: boolean } // .a.b, `.` alone has no names; glued: no blank before it
  | { kind: 'variable'; name: string; names: string[] } // $v.a
  | { kind: 'word'; text: string } // a function or keyword
  | { kind: 'literal'; value: string | number | boolean | null }
  | { kind: 'mark'; text: '|' | '(' | ')' | ':=' | '=' | ',' };

const tokenPattern =
  /\s*(?:(?<field>(?:\.[A-Za-z_][\w]*)+|\.)|\$(?<variable>\w*)(?<path>(?:\.[A-Za-z_]\w*)*)|"(?<quoted>(?:[^"\\]|\\.)*)"|`(?<raw>[^`]*)`|(?<number>-?\d+(?:\.\d+)?)|(?<word>[A-Za-z_]\w*)|(?<mark>:=|[|()=,]))/y;

/** Cuts a Go template into its pieces; `{{-` and `-}}` trim the text beside them, comments vanish. Throws `USAGE`. */
export function lexTemplate(template: string): Piece[] {
  const pieces: Piece[] = [];
  const pattern = /\{\{(- )?([\s\S]*?)( -)?\}\}/g;
  let at = 0;
  let trimNext = false;
  const addText = (text: string, trimEnd: boolean) => {
    const left = trimNext ? text.trimStart() : text;
    const both = trimEnd ? left.trimEnd() : left;
    if (both !== '') pieces.push({ text: both });
  };
  for (const match of template.matchAll(pattern)) {
    const [whole, trimBefore, body = '', trimAfter] = match;
    addText(template.slice(at, match.index), trimBefore !== undefined);
    if (!/^\s*\/\*[\s\S]*\*\/\s*$/.test(body)) pieces.push({ tokens: lexAction(body, whole), source: whole });
    trimNext = trimAfter !== undefined;
    at = match.index + whole.length;
  }
  const rest = template.slice(at);
  if (rest.includes('{{')) throw usageError(`invalid template: "{{" without "}}" in ${JSON.stringify(rest)}`);
  addText(rest, false);
  return pieces;
}

function lexAction(body: string, source: string): Token[] {
  const tokens: Token[] = [];
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < body.trimEnd().length) {
    const start = tokenPattern.lastIndex;
    const groups = tokenPattern.exec(body)?.groups;
    if (groups === undefined) throw usageError(`invalid template: cannot read ${JSON.stringify(body.slice(start).trim())} in ${source}`);
    tokens.push(toToken(groups, start > 0 && !/\s/.test(body[start] ?? '')));
  }
  return tokens;
}

function toToken(groups: Record<string, string | undefined>, glued: boolean): Token {
  const { field, variable, path = '', quoted, raw, number, word, mark } = groups;
  if (field !== undefined) return { kind: 'field', names: namesOf(field), glued };
  if (variable !== undefined) return { kind: 'variable', name: variable, names: namesOf(path) };
  if (quoted !== undefined) return { kind: 'literal', value: unquote(quoted) };
  if (raw !== undefined) return { kind: 'literal', value: raw };
  if (number !== undefined) return { kind: 'literal', value: Number(number) };
  if (word === 'true' || word === 'false') return { kind: 'literal', value: word === 'true' };
  if (word === 'nil') return { kind: 'literal', value: null };
  if (word !== undefined) return { kind: 'word', text: word };
  return { kind: 'mark', text: mark as (Token & { kind: 'mark' })['text'] };
}

function namesOf(path: string): string[] {
  return path.split('.').filter((name) => name !== '');
}

function unquote(text: string): string {
  const escapes: Record<string, string> = { n: '\n', t: '\t', r: '\r', '"': '"', '\\': '\\' };
  return text.replace(/\\(.)/g, (whole, letter: string) => escapes[letter] ?? whole);
}

/** Outside of templates Docker takes `\t` and `\n` in a format literally typed as a tab and a newline. */
export function unescapeFormat(format: string): string {
  return format.replaceAll('\\t', '\t').replaceAll('\\n', '\n');
}
