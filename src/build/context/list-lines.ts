import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { EngineError } from '../../base/errors.ts';

/** A path has 4 KiB, a link's target as much; in JSON each byte may take six. */
const maxLineBytes = 64 * 1024;

/** The JSON values of a gzipped file of lines, one after the other; no more of it is in memory than a piece. InvalidArgument `CONTEXT_LIST_INVALID`. */
export async function readJsonLines(file: string, take: (value: unknown) => void): Promise<void> {
  try {
    await pipeline(createReadStream(file), createGunzip(), async (source: AsyncIterable<Buffer>) => {
      let rest = '';
      const decoder = new TextDecoder('utf-8', { fatal: true });
      for await (const piece of source) {
        const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > maxLineBytes) throw invalidList('a line is too long');
        for (const line of lines) take(parse(line));
      }
      if (rest + decoder.decode() !== '') throw invalidList('it ends inside a line');
    });
  } catch (error) {
    if (error instanceof EngineError) throw error;
    throw invalidList(error instanceof Error ? error.message : String(error));
  }
}

function parse(line: string): unknown {
  if (line.length > maxLineBytes) throw invalidList('a line is too long');
  return JSON.parse(line);
}

export function invalidList(why: string): EngineError {
  return new EngineError('InvalidArgument', 'CONTEXT_LIST_INVALID', `the list of the build context cannot be read: ${why}`);
}
