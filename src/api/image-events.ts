import { familiar, familiarName, parseReference, type Reference } from '../oci/reference.ts';
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

/** A build made an image and gave it its names. */
export function tellBuilt(events: EventBus, image: ImageRecord, tags: readonly string[]): void {
  tellImage(events, 'create', image, image.id);
  for (const tag of tags) tellImage(events, 'tag', image, familiar(parseReference(tag)));
}

/** A pull or push is told by name (moby: LogImageEvent of the reference). */
export function tellTransfer(events: EventBus, action: 'pull' | 'push', reference: Reference, image: ImageRecord): void {
  const attributes = { ...(image.config.config?.Labels ?? {}), name: familiarName(reference) };
  events.publish({ type: 'image', action, id: familiar(reference), attributes });
}
