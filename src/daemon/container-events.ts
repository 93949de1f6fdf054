import type { EventBus } from '../api/event-bus.ts';
import type { ContainerEvent } from '../runtime/port.ts';

/** Tells the API's event stream what happened to a container, with Docker's attributes: image, name, its labels, and the event's own. */
export function tellContainer(events: EventBus, { action, record, attributes }: ContainerEvent): void {
  const image = record.image.reference || record.image.id;
  events.publish({
    type: 'container',
    action: action.startsWith('exec_') && action !== 'exec_die' ? `${action}: ${attributes?.command ?? ''}`.trimEnd() : action,
    id: record.id,
    from: image,
    attributes: { ...(record.config.Labels ?? {}), ...attributes, image, name: record.name },
  });
}
