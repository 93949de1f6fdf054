import { findHeredocs, readHeredoc } from './heredoc.ts';
import { type Location, Source } from './source.ts';
import type { Directives, Heredoc, Line } from './syntax.ts';
import { splitFlags } from './words.ts';

export type Lexed = {
  source: Source;
  escape: string;
  directives: Directives;
  lines: Line[];
  /** The last lines of instructions with an empty line inside. */
  emptyContinuations: Location[];
};

const sizeLimit = 4 * 1024 * 1024;
const instructionLimit = 20_000;

/**
 * Splits a Dockerfile into instructions: strips a byte order mark, reads parser directives, drops comments, joins continued lines and
 * takes the bodies of heredocs. CRLF and LF both end a line. Throws EngineError with the place.
 */
export function lex(text: string, name: string): Lexed {
  const physical = text.replace(/^\u{feff}/u, '').split('\n');
  if (physical.at(-1) === '') physical.pop();
  const source = new Source(
    name,
    physical.map((line) => withoutTrailing(line, '\r')),
  );
  const start: Location = { line: 1, column: 1, endLine: 1 };
  if (text.length > sizeLimit) throw source.invalid('DOCKERFILE_TOO_LARGE', start, `the file is larger than ${sizeLimit} bytes`);
  return new Lexer(source, physical).run();
}

/** A loop, because an expression such as / +$/ takes quadratic time on a line of many spaces. */
function withoutTrailing(line: string, characters: string): string {
  let end = line.length;
  while (end > 0 && characters.includes(line[end - 1] ?? '')) end--;
  return line.slice(0, end);
}

class Lexer {
  readonly #source: Source;
  /** Lines as they are, a carriage return included: a heredoc's body keeps it. */
  readonly #raw: readonly string[];
  readonly #lines: Line[] = [];
  readonly #emptyContinuations: Location[] = [];
  #directives: Directives = {};
  #directiveLines = 0;
  #comments: string[] = [];
  #escape = '\\';
  #at = 0;

  constructor(source: Source, raw: readonly string[]) {
    this.#source = source;
    this.#raw = raw;
  }

  run(): Lexed {
    this.#readDirectives();
    while (this.#at < this.#source.lines.length) this.#readInstruction();
    return {
      source: this.#source,
      escape: this.#escape,
      directives: this.#directives,
      lines: this.#lines,
      emptyContinuations: this.#emptyContinuations,
    };
  }

  /** `# name=value` lines at the very top, each of the three names at most once. Anything else ends them. */
  #readDirectives(): void {
    const seen = new Set<string>();
    for (const [index, line] of this.#source.lines.entries()) {
      const match = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*)$/.exec(line.trim());
      const name = match?.[1]?.toLowerCase();
      const value = match?.[2] ?? '';
      if (name !== 'syntax' && name !== 'escape' && name !== 'check') {
        // A first line for a shell is allowed before them.
        if (index === 0 && line.startsWith('#!')) continue;
        return;
      }
      const location = this.#place(index, 0, line.length);
      if (seen.has(name)) throw this.#source.invalid('DIRECTIVE_REPEATED', location, `the ${name} directive is given twice`);
      seen.add(name);
      this.#directiveLines = index + 1;
      if (name === 'syntax') this.#directives = { ...this.#directives, syntax: value };
      else if (name === 'check') this.#directives = { ...this.#directives, check: { value, location } };
      else if (value === '\\' || value === '`') this.#escape = value;
      else throw this.#source.invalid('ESCAPE_INVALID', location, `the escape character ${JSON.stringify(value)} is neither \\ nor \``);
    }
  }

  #readInstruction(): void {
    const first = this.#at;
    const pieces: { offset: number; line: number; column: number }[] = [];
    let text = '';
    let continued = true;
    let blank = false;
    while (continued && this.#at < this.#source.lines.length) {
      const index = this.#at++;
      const line = this.#source.lines[index] ?? '';
      const stripped = pieces.length === 0 ? line.trimStart() : line;
      if (line.trimStart().startsWith('#')) {
        if (pieces.length === 0) {
          this.#addComment(line, index);
          return;
        }
        continue;
      }
      if (stripped.trim() === '') {
        if (pieces.length === 0) return;
        blank = true;
        continue;
      }
      const { kept, more } = this.#withoutContinuation(stripped);
      pieces.push({ offset: text.length, line: index, column: line.length - stripped.length });
      text += kept;
      continued = more;
    }
    if (text.trim() === '') return;
    if (blank) this.#emptyContinuations.push(this.#place(this.#at - 1, 0));
    this.#addLine(text, first, pieces);
  }

  #addComment(line: string, index: number): void {
    if (index < this.#directiveLines) return;
    const comment = line.trimStart().slice(1).trim();
    if (comment === '') this.#comments = [];
    else this.#comments.push(comment);
  }

  #withoutContinuation(line: string): { kept: string; more: boolean } {
    const end = withoutTrailing(line, ' \t').length - 1;
    // An escape character that is itself escaped does not continue the line.
    if (line[end] !== this.#escape || (end > 0 && line[end - 1] === this.#escape)) return { kept: line, more: false };
    return { kept: line.slice(0, end), more: true };
  }

  #addLine(text: string, first: number, pieces: readonly { offset: number; line: number; column: number }[]): void {
    let endLine = this.#at;
    const locate = (offset: number, length?: number): Location => {
      let piece = pieces[0] ?? { offset: 0, line: first, column: 0 };
      for (const candidate of pieces) if (candidate.offset <= offset) piece = candidate;
      return { ...this.#place(piece.line, piece.column + offset - piece.offset, length), endLine };
    };
    const keyword = /^\S+/u.exec(text)?.[0] ?? '';
    if (this.#lines.length >= instructionLimit) {
      throw this.#source.invalid('DOCKERFILE_TOO_LARGE', locate(0), `there are more than ${instructionLimit} instructions`);
    }
    const split = splitFlags(text.slice(keyword.length), this.#escape);
    const restOffset = keyword.length + split.rest;
    const untrimmed = text.slice(restOffset);
    const rest = untrimmed.trim();
    const heredocs = this.#readHeredocs(keyword, text, rest, locate);
    endLine = this.#at;
    this.#lines.push({
      source: this.#source,
      escape: this.#escape,
      keyword,
      flags: split.flags.map((flag) => ({ text: flag.text, offset: flag.offset + keyword.length })),
      rest,
      restOffset: restOffset + (untrimmed.length - untrimmed.trimStart().length),
      text: text.trimEnd(),
      heredocs,
      comments: this.#comments,
      location: locate(0, keyword.length),
      locate,
    });
    this.#comments = [];
  }

  #readHeredocs(keyword: string, text: string, rest: string, locate: (offset: number, length?: number) => Location): Heredoc[] {
    return findHeredocs(keyword, text, rest).map((heredoc) => {
      const body = readHeredoc(this.#raw, this.#at, heredoc);
      if (body === undefined) {
        const offset = Math.max(0, text.indexOf('<<'));
        throw this.#source.invalid(
          'HEREDOC_UNTERMINATED',
          locate(offset, 2),
          `the heredoc that begins here is not ended by a line "${heredoc.name}"`,
        );
      }
      this.#at = body.next;
      return { ...heredoc, content: body.content };
    });
  }

  #place(index: number, column: number, length?: number): Location {
    return { line: index + 1, column: column + 1, endLine: index + 1, length };
  }
}
