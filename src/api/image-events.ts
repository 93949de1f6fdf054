import { familiar, familiarName, type Reference } from '../oci/reference.ts';
import type { ImageRecord } from '../store/port.ts';
import type { EventBus } from './event-bus.ts';

/** Tells what happened to an image; `name` is the reference that it happened to, or the id. */
export function tellImage(
  events: EventBus,
  action: 'create' | 'tag' | 'untag' | 'delete' | 'load' | 'import' | 'save',
  image: ImageRecord,
  name: string,
): void {
  events.publish({ type: 'image', action, id: image.id, attributes: { name, ...(image.config.config?.Labels ?? {}) } });
}

/** A pull or push is told by name (moby: LogImageEvent of the reference). */
export function tellTransfer(events: EventBus, action: 'pull' | 'push', reference: Reference, image: ImageRecord): void {
  const attributes = { ...(image.config.config?.Labels ?? {}), name: familiarName(reference) };
  events.publish({ type: 'image', action, id: familiar(reference), attributes });
}
