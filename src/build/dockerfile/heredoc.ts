import { ExpansionError, expand } from './expand.ts';
import type { Heredoc } from './syntax.ts';
import { parseJsonArray } from './words.ts';

const nothing = { get: () => undefined };

/** `<<WORD`, `<<-WORD`, `3<<"WORD"`: undefined when the word is no heredoc mark. */
export function parseHeredocMark(word: string): Heredoc | undefined {
  const match = /^(\d*)<<(-?)\s*([^<\s][^<]*)?$/.exec(word);
  const rest = match?.[3] ?? '';
  if (match === null || rest === '') return undefined;
  try {
    const plain = expand(rest, nothing, { keepUnset: true }).words;
    const [name] = plain;
    if (name === undefined || plain.length !== 1) return undefined;
    const raw = expand(rest, nothing, { keepUnset: true, rawQuotes: true }).words[0] ?? '';
    const quotes = (text: string) => text.replace(/[^'"]/g, '').length;
    return {
      name,
      fileDescriptor: Number(match[1] || 0),
      expand: quotes(name) === quotes(raw),
      chomp: match[2] === '-',
      content: '',
    };
  } catch (error) {
    if (error instanceof ExpansionError) return undefined;
    throw error;
  }
}

/** The heredoc marks of an instruction that may have some: RUN, COPY and ADD, also as triggers of ONBUILD, unless in exec form. */
export function findHeredocs(keyword: string, text: string, rest: string): Heredoc[] {
  if (!text.includes('<<')) return [];
  let name = keyword.toUpperCase();
  let args = rest;
  if (name === 'ONBUILD') {
    const trigger = /^(\S+)\s*([\s\S]*)$/u.exec(rest);
    name = (trigger?.[1] ?? '').toUpperCase();
    args = trigger?.[2] ?? '';
  }
  if ((name !== 'RUN' && name !== 'COPY' && name !== 'ADD') || parseJsonArray(args) !== 'not-json') return [];
  let words: readonly string[];
  try {
    words = expand(text, nothing, { rawQuotes: true, rawEscapes: true, keepUnset: true }).words;
  } catch (error) {
    // A line that the shell will understand and this expansion does not: it has no heredoc of ours.
    if (error instanceof ExpansionError) return [];
    throw error;
  }
  return words.map(parseHeredocMark).filter((heredoc) => heredoc !== undefined);
}

/** The body that begins at line index `start`, and the index after its end mark; undefined when the mark is missing. */
export function readHeredoc(lines: readonly string[], start: number, heredoc: Heredoc): { content: string; next: number } | undefined {
  const body: string[] = [];
  for (let at = start; at < lines.length; at++) {
    const line = lines[at] ?? '';
    const plain = line.endsWith('\r') ? line.slice(0, -1) : line;
    if ((heredoc.chomp ? plain.replace(/^\t+/, '') : plain) === heredoc.name) {
      const content = body.map((text) => `${text}\n`).join('');
      return { content: heredoc.chomp ? content.replace(/^\t+/gm, '') : content, next: at + 1 };
    }
    body.push(line);
  }
  return undefined;
}
