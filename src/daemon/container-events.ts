import type { EventBus } from '../api/event-bus.ts';
import type { ContainerEvent } from '../runtime/port.ts';

/** Tells the API's event stream what happened to a container, with Docker's attributes: image, name, its labels, and the event's own. */
export function tellContainer(events: EventBus, { action, record, attributes }: ContainerEvent): void {
  const image = record.image.reference || record.image.id;
  const { command: _command, status: _status, ...others } = attributes ?? {};
  events.publish({
    type: 'container',
    action: withDetail(action, attributes),
    id: record.id,
    from: image,
    attributes: { ...(record.config.Labels ?? {}), ...others, image, name: record.name },
  });
}

/** Docker tells a command and a health in the action's own name. */
function withDetail(action: ContainerEvent['action'], attributes: ContainerEvent['attributes']): string {
  if (action === 'health_status') return `health_status: ${attributes?.status ?? ''}`;
  if (action === 'exec_create' || action === 'exec_start') return `${action}: ${attributes?.command ?? ''}`.trimEnd();
  return action;
}
