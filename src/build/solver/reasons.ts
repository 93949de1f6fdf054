import type { Hex } from '../../oci/digest.ts';
import type { Read } from './executor.ts';
import type { LastRun } from './memory.ts';

/** Why a step has no known result, as people ask it: what is not as it was when it last ran. */
export function missReason(last: LastRun | undefined, operation: Hex, reads: readonly Read[]): string {
  if (last === undefined) return 'it has not run before';
  if (last.operation !== operation) return 'the instruction or its variables changed';
  const before = new Map(last.reads.map((read) => [read.what, read.digest]));
  const changed = reads.filter((read) => before.get(read.what) !== read.digest).map((read) => read.what);
  if (changed.length === 0) return 'its earlier result is gone';
  const shown = changed.slice(0, 3).join(', ');
  return `${shown}${changed.length > 3 ? ` and ${changed.length - 3} more` : ''} changed`;
}
