import type { Chunk, ChunkId } from '../frames/model.ts';
import { maxDeltaWindow, type Span } from './delta-codec.ts';

/** A part of a new file, and where in the old one something like it should be. `fresh` are the chunks of it that the old one lacks. */
export type Window = Span & { readonly base: Span; readonly fresh: readonly Span[] };

/** Runs of chunks that begin and end with one that the old file lacks. */
export function windowsOf(after: readonly Chunk[], before: readonly Chunk[], beforeSize: number): Window[] {
  const old = new Map<ChunkId, number>();
  let at = 0;
  for (const { id, length } of before) {
    if (!old.has(id)) old.set(id, at);
    at += length;
  }
  const windows: Window[] = [];
  let open: { offset: number; end: number; shift: number; fresh: Span[] } | undefined;
  const close = () => {
    if (open === undefined) return;
    const length = open.end - open.offset;
    // As much of the old file around the place as a dictionary may have.
    const around = Math.max(0, Math.floor((maxDeltaWindow - length) / 2));
    const offset = Math.max(0, Math.min(open.offset + open.shift - around, beforeSize - maxDeltaWindow));
    windows.push({
      offset: open.offset,
      length,
      base: { offset, length: Math.min(maxDeltaWindow, beforeSize - offset) },
      fresh: open.fresh,
    });
    open = undefined;
  };
  let offset = 0;
  let shift = 0;
  for (const { id, length } of after) {
    const known = old.get(id);
    if (known !== undefined) shift = known - offset;
    else {
      if (open !== undefined && offset + length - open.offset > maxDeltaWindow) close();
      open ??= { offset, end: offset, shift, fresh: [] };
      open.end = offset + length;
      open.fresh.push({ offset, length });
    }
    offset += length;
  }
  close();
  return windows;
}
