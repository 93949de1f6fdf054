import { usageError } from '../flags.ts';
import { functionNames } from './template-functions.ts';
import { lexTemplate, type Piece, type Token } from './template-lexer.ts';

export type Node =
  | { kind: 'text'; text: string }
  | { kind: 'print'; value: Pipeline }
  | { kind: 'assign'; name: string; value: Pipeline }
  | { kind: 'if'; test: Pipeline; then: Node[]; otherwise: Node[] }
  | { kind: 'with'; value: Pipeline; then: Node[]; otherwise: Node[] }
  | { kind: 'range'; over: Pipeline; key: string | undefined; element: string | undefined; body: Node[]; otherwise: Node[] };

/** Commands joined with `|`: each one's value is the last argument of the next. */
export type Pipeline = Call[];
/** Without a function: a value, or a method and the literal that it is given. */
export type Call = { function: string | undefined; args: Operand[] };
export type Operand =
  | { kind: 'field'; names: string[] }
  | { kind: 'variable'; name: string; names: string[] }
  | { kind: 'literal'; value: string | number | boolean | null }
  /** `names`: fields of the result, as in `(index .Ports 0).HostPort`. */
  | { kind: 'pipeline'; pipeline: Pipeline; names: string[] };

const supported = `Supported: fields (.State.Status), variables, pipes, if, else, with, range, end, and the functions ${functionNames.join(', ')}.`;

/** Parses the part of Go's text/template that Docker users write. Throws InvalidArgument `USAGE` that says what is supported. */
export function parseTemplate(template: string): Node[] {
  const parser = new TemplateParser(lexTemplate(template));
  const nodes = parser.nodes();
  parser.expectEnd();
  return nodes;
}

class TemplateParser {
  readonly #pieces: Piece[];
  #at = 0;
  #tokens: Token[] = [];
  #source = '';

  constructor(pieces: Piece[]) {
    this.#pieces = pieces;
  }

  /** Up to the `end` or `else` that closes the block, which is left to the caller, or the end of the template. */
  nodes(): Node[] {
    const nodes: Node[] = [];
    for (; this.#at < this.#pieces.length; ) {
      const piece = this.#pieces[this.#at] as Piece; // the loop's condition bounds it
      if ('text' in piece) {
        nodes.push({ kind: 'text', text: piece.text });
        this.#at++;
        continue;
      }
      const keyword = wordOf(piece.tokens[0]);
      if (keyword === 'end' || keyword === 'else') break;
      this.#enter(piece);
      nodes.push(this.#action(keyword));
    }
    return nodes;
  }

  expectEnd(): void {
    const left = this.#pieces[this.#at];
    if (left !== undefined && 'source' in left) throw usageError(`invalid template: ${left.source} closes nothing`);
  }

  #enter(piece: { tokens: Token[]; source: string }): void {
    this.#tokens = [...piece.tokens];
    this.#source = piece.source;
    this.#at++;
  }

  #action(keyword: string | undefined): Node {
    if (keyword === 'if' || keyword === 'with' || keyword === 'range') {
      this.#tokens.shift();
      return this.#block(keyword);
    }
    const [first, second] = this.#tokens;
    if (first?.kind === 'variable' && isMark(second, ':=', '=')) {
      this.#tokens.splice(0, 2);
      return { kind: 'assign', name: first.name, value: this.#wholePipeline() };
    }
    return { kind: 'print', value: this.#wholePipeline() };
  }

  #block(keyword: 'if' | 'with' | 'range'): Node {
    const names = keyword === 'range' ? this.#rangeVariables() : { key: undefined, element: undefined };
    const value = this.#wholePipeline();
    const opened = this.#source;
    const then = this.nodes();
    const otherwise = this.#otherwise(keyword, opened);
    if (keyword === 'if') return { kind: 'if', test: value, then, otherwise };
    if (keyword === 'with') return { kind: 'with', value, then, otherwise };
    return { kind: 'range', over: value, ...names, body: then, otherwise };
  }

  /** What comes after the block's first part, through its `end`. `else if` is an `if` inside. */
  #otherwise(keyword: 'if' | 'with' | 'range', opened: string): Node[] {
    const piece = this.#pieces[this.#at];
    if (piece === undefined || !('tokens' in piece)) throw usageError(`invalid template: ${opened} has no {{end}}`);
    this.#enter(piece);
    if (wordOf(this.#tokens.shift()) === 'end') {
      this.#expectNoTokens();
      return [];
    }
    if (keyword !== 'range' && wordOf(this.#tokens[0]) === keyword) {
      this.#tokens.shift();
      return [this.#block(keyword)];
    }
    this.#expectNoTokens();
    const nodes = this.nodes();
    const closing = this.#otherwise(keyword, opened);
    if (closing.length > 0) throw usageError(`invalid template: ${opened} has two {{else}}`);
    return nodes;
  }

  #rangeVariables(): { key: string | undefined; element: string | undefined } {
    const [first, second, third, fourth] = this.#tokens;
    if (first?.kind !== 'variable') return { key: undefined, element: undefined };
    if (isMark(second, ':=')) {
      this.#tokens.splice(0, 2);
      return { key: undefined, element: first.name };
    }
    if (isMark(second, ',') && third?.kind === 'variable' && isMark(fourth, ':=')) {
      this.#tokens.splice(0, 4);
      return { key: first.name, element: third.name };
    }
    return { key: undefined, element: undefined };
  }

  #wholePipeline(): Pipeline {
    const pipeline = this.#pipeline();
    this.#expectNoTokens();
    return pipeline;
  }

  #expectNoTokens(): void {
    if (this.#tokens.length > 0) throw this.#unsupported();
  }

  #pipeline(): Pipeline {
    const calls = [this.#call()];
    while (isMark(this.#tokens[0], '|')) {
      this.#tokens.shift();
      calls.push(this.#call());
    }
    return calls;
  }

  #call(): Call {
    const word = wordOf(this.#tokens[0]);
    if (word !== undefined) {
      if (!functionNames.includes(word)) throw usageError(`template ${this.#source} uses "${word}", which is not supported`, supported);
      this.#tokens.shift();
      return { function: word, args: this.#operands() };
    }
    const args = this.#operands();
    const method = args.length === 2 && args[0]?.kind === 'field' && args[1]?.kind === 'literal';
    if (args.length !== 1 && !method) throw this.#unsupported();
    return { function: undefined, args };
  }

  #operands(): Operand[] {
    const operands: Operand[] = [];
    for (let token = this.#tokens[0]; token !== undefined; token = this.#tokens[0]) {
      if (token.kind === 'word') {
        if (!functionNames.includes(token.text)) throw this.#unsupported();
        operands.push({ kind: 'pipeline', pipeline: [{ function: token.text, args: [] }], names: [] });
        this.#tokens.shift();
      } else if (token.kind !== 'mark') {
        operands.push(token);
        this.#tokens.shift();
      } else if (token.text === '(') operands.push(this.#parenthesised());
      else break;
    }
    return operands;
  }

  #parenthesised(): Operand {
    this.#tokens.shift();
    const pipeline = this.#pipeline();
    if (!isMark(this.#tokens.shift(), ')')) throw usageError(`invalid template: "(" without ")" in ${this.#source}`);
    const next = this.#tokens[0];
    const names = next?.kind === 'field' && next.glued ? next.names : [];
    if (names.length > 0) this.#tokens.shift();
    return { kind: 'pipeline', pipeline, names };
  }

  #unsupported() {
    return usageError(`template ${this.#source} is not understood`, supported);
  }
}

function wordOf(token: Token | undefined): string | undefined {
  return token?.kind === 'word' ? token.text : undefined;
}

function isMark(token: Token | undefined, ...texts: string[]): boolean {
  return token?.kind === 'mark' && texts.includes(token.text);
}
