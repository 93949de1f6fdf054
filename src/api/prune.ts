import { EngineError } from '../base/errors.ts';
import type { EventBus } from './event-bus.ts';

/** Two prunes of the same kind at a time would count the same bytes twice: the second is refused, as Docker does. */
export function oneAtATime(): <T>(run: () => Promise<T>) => Promise<T> {
  let running = false;
  return async (run) => {
    if (running) throw new EngineError('Conflict', 'PRUNE_RUNNING', 'a prune operation is already running');
    running = true;
    try {
      return await run();
    } finally {
      running = false;
    }
  };
}

export function tellPruned(events: EventBus, type: 'container' | 'image' | 'network' | 'volume' | 'builder', reclaimedBytes: number): void {
  events.publish({ type, action: 'prune', id: '', attributes: { reclaimed: String(reclaimedBytes) } });
}
