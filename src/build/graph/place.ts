import { EngineError, type ErrorKind } from '../../base/errors.ts';
import { Source } from '../dockerfile/source.ts';
import type { Place } from './vertex.ts';

const placed = new WeakSet<EngineError>();

/** An error that shows a place of the definition. */
export function errorAt(
  place: Place | undefined,
  kind: ErrorKind,
  code: string,
  message: string,
  options: { hint?: string | undefined; cause?: unknown; exitCode?: number | undefined } = {},
): EngineError {
  if (place === undefined) return new EngineError(kind, code, message, options);
  const lines: string[] = [];
  lines[place.line - 1] = place.text;
  const location = { line: place.line, column: place.column, endLine: place.line, length: place.length };
  const error = new Source(place.file, lines).error(kind, code, location, message, options);
  placed.add(error);
  return error;
}

/** Adds the place to an error that has none yet; anything but an EngineError stays what it is. */
export function withPlace(place: Place | undefined, error: unknown): unknown {
  if (!(error instanceof EngineError) || error.kind === 'Cancelled' || placed.has(error) || place === undefined) return error;
  return errorAt(place, error.kind, error.code, error.message, { hint: error.hint, cause: error, exitCode: error.exitCode });
}
