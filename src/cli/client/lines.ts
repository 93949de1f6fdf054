import { EngineError, type ErrorData, fromErrorData } from '../../base/errors.ts';
import type { Response } from './connection.ts';

/** The lines of a stream that have something on them; the last one may lack its newline. */
export async function* textLines(response: Response): AsyncGenerator<string, void, undefined> {
  let rest: Buffer[] = [];
  for await (const piece of response.body()) {
    let at = 0;
    for (let newline = piece.indexOf(0x0a); newline >= 0; newline = piece.indexOf(0x0a, at)) {
      const line = rest.length === 0 ? piece.subarray(at, newline) : Buffer.concat([...rest, piece.subarray(at, newline)]);
      rest = [];
      at = newline + 1;
      if (line.length > 0) yield line.toString('utf8');
    }
    if (at < piece.length) rest.push(piece.subarray(at));
  }
  const last = Buffer.concat(rest).toString('utf8').trim();
  if (last !== '') yield last;
}

/** The objects of a stream of JSON lines. */
export async function* jsonLines<T>(response: Response): AsyncGenerator<T, void, undefined> {
  for await (const line of textLines(response)) yield JSON.parse(line) as T;
}

type Ending = { kind: 'error'; error: ErrorData };

/**
 * Reads one of Slipway's own streams (docs/formats/api.md, "JSON lines") to its `result`; lines of other kinds go to `onLine`. Throws the stream's
 * `error`, and Unavailable `ANSWER_CUT` when it ends with neither.
 */
export async function readToResult<L extends { kind: string }, R extends { kind: 'result' }>(
  response: Response,
  onLine: (line: L) => void,
): Promise<R> {
  for await (const line of jsonLines<L | R | Ending>(response)) {
    if (line.kind === 'result') return line as R;
    if (line.kind === 'error' && typeof (line as Ending).error === 'object') throw fromErrorData((line as Ending).error);
    onLine(line as L);
  }
  throw new EngineError('Unavailable', 'ANSWER_CUT', 'the daemon closed the connection before it was done', {
    hint: 'Look at its log ("journalctl -u slipway" when systemd runs it) and try again.',
  });
}
