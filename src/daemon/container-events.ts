import type { EventBus } from '../api/event-bus.ts';
import type { ContainerEvent, ContainerRecord } from '../runtime/port.ts';

/**
 * Tells the API's event stream what happened to a container, with Docker's attributes: image, name, its labels, and the event's own. A start tells of
 * the volumes that it mounts and the networks that it joins, too, and an end of those that it leaves; of a container adopted from an earlier daemon the
 * networks are not known.
 */
export function tellContainer(events: EventBus, event: ContainerEvent): void {
  const { action, record, attributes } = event;
  const image = record.image.reference || record.image.id;
  const { command: _command, status: _status, ...others } = attributes ?? {};
  if (action === 'start') {
    tellMounted(events, record);
    tellJoined(events, record);
  }
  events.publish({
    type: 'container',
    action: withDetail(action, attributes),
    id: record.id,
    from: image,
    attributes: { ...(record.config.Labels ?? {}), ...others, image, name: record.name },
  });
  if (action === 'die') {
    tellLeft(events, record.id);
    tellUnmounted(events, record);
  }
}

/** Docker tells a command and a health in the action's own name. */
function withDetail(action: ContainerEvent['action'], attributes: ContainerEvent['attributes']): string {
  if (action === 'health_status') return `health_status: ${attributes?.status ?? ''}`;
  if (action === 'exec_create' || action === 'exec_start') return `${action}: ${attributes?.command ?? ''}`.trimEnd();
  return action;
}

function tellJoined(events: EventBus, { id, endpoints }: ContainerRecord): void {
  for (const { networkId, network } of endpoints) tellNetwork(events, 'connect', { id: networkId, name: network }, id);
}

function tellMounted(events: EventBus, record: ContainerRecord): void {
  for (const { name, driver = 'local', destination, readOnly, propagation = '' } of volumesOf(record)) {
    const attributes = { container: record.id, destination, driver, propagation, 'read/write': String(!readOnly) };
    events.publish({ type: 'volume', action: 'mount', id: name, attributes });
  }
}

function tellUnmounted(events: EventBus, record: ContainerRecord): void {
  for (const { name, driver = 'local' } of volumesOf(record)) {
    events.publish({ type: 'volume', action: 'unmount', id: name, attributes: { container: record.id, driver } });
  }
}

function volumesOf({ mounts }: ContainerRecord) {
  return mounts.flatMap((mount) => (mount.type === 'volume' && mount.name !== undefined ? [{ ...mount, name: mount.name }] : []));
}

/** The record has forgotten them by then. */
function tellLeft(events: EventBus, id: string): void {
  for (const network of events.joinedBy(id)) tellNetwork(events, 'disconnect', network, id);
}

type Joined = { id: string; name: string };

function tellNetwork(events: EventBus, action: 'connect' | 'disconnect', { id, name }: Joined, container: string): void {
  events.publish({ type: 'network', action, id, attributes: { container, name } });
}
