import type { HistoryEntry, ImageConfig } from '../oci/image.ts';
import type { Store } from '../store/port.ts';
import type { Lowered } from './dockerfile/lower.ts';
import type { StageHistory } from './dockerfile/stage.ts';
import type { Solution } from './solver/solver.ts';

/**
 * The image config and history of a solved build, with times. A time is when a result was first made, not when this build ran: a build
 * from the cache gives the same image. With an epoch (SOURCE_DATE_EPOCH, in seconds) no time is later than that.
 */
export async function describeImage(
  lowered: Lowered,
  solution: Solution,
  options: { actions: Pick<Store['actions'], 'get'>; epochSeconds: number | undefined },
): Promise<{ config: ImageConfig; history: HistoryEntry[] }> {
  const times = await Promise.all(lowered.history.map((item) => createdAt(item, solution, options.actions)));
  const history = datedHistory(lowered.history, times, options.epochSeconds);
  const created =
    solution.output.createdAtMs === undefined ? history.at(-1)?.created : iso(solution.output.createdAtMs, options.epochSeconds);
  return { config: { ...(created === undefined ? {} : { created }), ...lowered.config }, history };
}

async function createdAt(item: StageHistory, solution: Solution, actions: Pick<Store['actions'], 'get'>): Promise<number | undefined> {
  const recipe = item.vertex === undefined ? undefined : solution.recipes.get(item.vertex);
  const output = recipe === undefined ? undefined : await actions.get(recipe);
  const time = output?.detail?.createdAtMs;
  return typeof time === 'number' ? time : undefined;
}

/** An entry without a result of its own has the time of the one before it, or of the first new one. */
function datedHistory(
  items: readonly StageHistory[],
  times: readonly (number | undefined)[],
  epochSeconds: number | undefined,
): HistoryEntry[] {
  const firstNew = times.find((time) => time !== undefined);
  let current: string | undefined;
  let sawNew = false;
  return items.map(({ entry }, index) => {
    if (entry.created !== undefined) {
      current = entry.created;
      return entry;
    }
    const time = times[index] ?? (sawNew ? undefined : firstNew);
    sawNew = true;
    if (time !== undefined) current = iso(time, epochSeconds);
    return current === undefined ? entry : { created: current, ...entry };
  });
}

function iso(timeMs: number, epochSeconds: number | undefined): string {
  return new Date(epochSeconds === undefined ? timeMs : Math.min(timeMs, epochSeconds * 1000)).toISOString();
}
