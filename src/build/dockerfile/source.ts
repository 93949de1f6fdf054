import { EngineError, type ErrorKind } from '../../base/errors.ts';

/** A place in a Dockerfile: line and column count from 1, columns in UTF-16 units. `endLine` is the last line of the instruction. */
export type Location = { readonly line: number; readonly column: number; readonly endLine: number; readonly length?: number | undefined };

/** A Dockerfile's text with its name, for errors that show the place. */
export class Source {
  readonly name: string;
  readonly lines: readonly string[];

  constructor(name: string, lines: readonly string[]) {
    this.name = name;
    this.lines = lines;
  }

  /**
   * An error that names file, line and column and shows the line with a caret below the place:
   *
   *     Dockerfile:2:1: unknown instruction RNU
   *       2 | RNU make
   *         | ^^^
   */
  error(kind: ErrorKind, code: string, location: Location, message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    return new EngineError(kind, code, `${this.name}:${location.line}:${location.column}: ${message}\n${this.excerpt(location)}`, options);
  }

  invalid(code: string, location: Location, message: string, hint?: string): EngineError {
    return this.error('InvalidArgument', code, location, message, { hint });
  }

  unsupported(location: Location, message: string, hint?: string): EngineError {
    return this.error('Unsupported', 'DOCKERFILE_UNSUPPORTED', location, message, { hint });
  }

  excerpt(location: Location): string {
    const shown = 120;
    const line = this.lines[location.line - 1] ?? '';
    // A long line is cut around the place; tabs become single spaces so that the caret stands right.
    const from = Math.max(0, Math.min(location.column - 1 - shown / 2, line.length - shown));
    const text = line.slice(from, from + shown).replace(/[\s\p{Cc}]/gu, ' ');
    const indent = ' '.repeat(Math.max(0, location.column - 1 - from));
    const carets = '^'.repeat(Math.max(1, Math.min(location.length ?? 1, shown - indent.length)));
    const number = String(location.line);
    return `  ${number} | ${text}\n  ${' '.repeat(number.length)} | ${indent}${carets}`;
  }
}
