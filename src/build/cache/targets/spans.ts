import type { ByteRange } from '../../../transport/registry/port.ts';

/** Ranges that one request asks for. */
export type Span = { readonly start: number; readonly end: number; readonly ranges: readonly ByteRange[] };

/** Reading over a gap of that much costs less than another request. */
const maxGapBytes = 64 * 1024;
const maxSpanBytes = 4 << 20;

/** Joins sorted ranges that are near each other into requests. */
export function spansOf(ranges: readonly ByteRange[]): Span[] {
  const spans: { start: number; end: number; ranges: ByteRange[] }[] = [];
  for (const range of ranges) {
    const end = range.offset + range.length;
    const last = spans.at(-1);
    if (last !== undefined && range.offset - last.end <= maxGapBytes && end - last.start <= maxSpanBytes) {
      last.end = end;
      last.ranges.push(range);
    } else spans.push({ start: range.offset, end, ranges: [range] });
  }
  return spans;
}
