import { read } from 'node:fs';
import { promisify } from 'node:util';
import { SpoolFile } from './files.ts';
import type { LogLine } from './port.ts';
import { newline, parseRecord } from './record.ts';

const readAt = promisify(read);
const blockBytes = 64 << 10;
/**
 * Pieces of two streams may be interleaved: a line among the last ones can have begun before the line ahead of it ended. So the reading
 * starts a few lines early and the surplus is dropped.
 */
const slackLines = 8;

export type TailStart = {
  /** Index into the given paths, and offset in bytes. */
  file: number;
  offset: number;
  /** So many finished lines are to be dropped from there. */
  skip: number;
};

/** Finds where the last `lines` lines begin, reading blocks from the end. Cost is that of the lines wanted, whatever the spool's size. */
export async function findTail(paths: readonly string[], lines: number, wanted: (record: LogLine) => boolean): Promise<TailStart> {
  let counted = 0;
  const seen = new Set<LogLine['stream']>();
  for (let index = paths.length - 1; index >= 0; index--) {
    using file = SpoolFile.open(paths[index] ?? '');
    if (!file) continue;
    for await (const { offset, record } of recordsBackwards(file)) {
      if (!record || !wanted(record)) continue;
      // A stream's last piece without an end is a line too.
      if (!seen.has(record.stream) && record.partial) counted++;
      seen.add(record.stream);
      if (record.partial) continue;
      // This record ends the line before those counted so far.
      if (counted >= lines + slackLines) return { file: index, offset: offset + record.recordBytes, skip: slackLines };
      counted++;
    }
  }
  return { file: 0, offset: 0, skip: Math.max(0, counted - lines) };
}

type Located = { offset: number; record: (LogLine & { recordBytes: number }) | undefined };

async function* recordsBackwards(file: SpoolFile): AsyncGenerator<Located> {
  let end = file.size;
  /** Bytes from the start of the block read last up to its first newline: the end of a record that began earlier. */
  let carried: Buffer = Buffer.alloc(0);
  while (end > 0) {
    const start = Math.max(0, end - blockBytes);
    const buffer = Buffer.alloc(end - start);
    const { bytesRead } = await readAt(file.fd, buffer, 0, buffer.length, start);
    const block = Buffer.concat([buffer.subarray(0, bytesRead), carried]);
    let stop = block.length;
    // A record without its newline yet, at the very end, is still being written.
    if (carried.length === 0 && end === file.size && block[stop - 1] !== newline) stop = block.lastIndexOf(newline) + 1;
    while (stop > 0) {
      // With a newline as the block's only byte left there is nothing ahead of it to search; -1 would mean the block's end.
      const begin = stop === 1 ? 0 : block.lastIndexOf(newline, stop - 2) + 1;
      if (begin === 0 && start > 0) break;
      const record = parseRecord(block.subarray(begin, stop - 1));
      yield { offset: start + begin, record: record && { ...record, recordBytes: stop - begin } };
      stop = begin;
    }
    carried = block.subarray(0, stop);
    end = start;
  }
}
