import type { ContainerRecord, Containers } from '../runtime/port.ts';
import type { Images } from '../store/port.ts';
import { isRunning, statusOf } from './encode/container.ts';
import { invalid } from './errors.ts';
import type { Filters } from './filters.ts';

export const containerFilterKeys = [
  'ancestor',
  'before',
  'exited',
  'expose',
  'health',
  'id',
  'is-task',
  'isolation',
  'label',
  'label!',
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
];

const statuses = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];

export type ContainerTest = (record: ContainerRecord) => boolean;

/** The filters of GET /containers/json as one test. Names of images and containers in them are resolved once. */
export async function containerTest(filters: Filters, services: { containers: Containers; images: Images }): Promise<ContainerTest> {
  for (const status of filters.get('status')) {
    if (!statuses.includes(status))
      throw invalid('FILTER_INVALID', `invalid filter 'status=${status}'`, `A status is one of: ${statuses.join(', ')}.`);
  }
  const exitCodes = filters.get('exited').map((value) => {
    if (!/^\d{1,3}$/.test(value)) throw invalid('FILTER_INVALID', `invalid filter 'exited=${value}'`, 'Give an exit code, 0 to 255.');
    return Number(value);
  });
  const ancestors = await Promise.all(
    filters.get('ancestor').map((name) =>
      services.images.resolve(name).then(
        ({ id }) => id,
        () => undefined,
      ),
    ),
  );
  const createdAt = async (key: string) =>
    Promise.all(filters.get(key).map(async (name) => (await services.containers.get(name)).createdAtMs));
  const [before, since] = await Promise.all([createdAt('before'), createdAt('since')]);
  return (record) =>
    filters.any('status', (value) => value === statusOf(record.state)) &&
    filters.matches('id', record.id) &&
    filters.any('name', (value) => matchesName(value, record.name)) &&
    filters.labels(record.config.Labels) &&
    (exitCodes.length === 0 || (record.state.status === 'exited' && exitCodes.includes(record.state.exitCode))) &&
    filters.any('ancestor', (value) => record.image.reference === value || ancestors.includes(record.image.id)) &&
    before.every((time) => record.createdAtMs < time) &&
    since.every((time) => record.createdAtMs > time) &&
    filters.any('volume', (value) =>
      record.mounts.some((mount) => mount.name === value || mount.destination === value || mount.source === value),
    ) &&
    filters.any('network', (value) => usesNetwork(record, value)) &&
    filters.any('publish', (value) => record.ports.some((port) => matchesPort(value, port.hostPort, port.protocol))) &&
    filters.any('expose', (value) => matchesExposed(record, value)) &&
    filters.any('health', (value) => value === 'none') &&
    filters.any('is-task', (value) => value !== 'true');
}

/** Whether a listing without `all` shows it. */
export function isShownByDefault(record: ContainerRecord): boolean {
  return isRunning(record.state);
}

function matchesName(pattern: string, name: string): boolean {
  try {
    const expression = new RegExp(pattern);
    return expression.test(name) || expression.test(`/${name}`);
  } catch {
    return name.includes(pattern);
  }
}

function usesNetwork(record: ContainerRecord, wanted: string): boolean {
  return (
    record.hostConfig.NetworkMode === wanted ||
    record.networks.some(({ name }) => name === wanted) ||
    record.endpoints.some(({ network, networkId }) => network === wanted || networkId.startsWith(wanted))
  );
}

function matchesExposed(record: ContainerRecord, value: string): boolean {
  return Object.keys(record.config.ExposedPorts ?? {}).some((text) => {
    const [port = '', protocol = 'tcp'] = text.split('/');
    return matchesPort(value, Number(port), protocol);
  });
}

/** `80`, `80/udp`, `8000-8010/tcp`. */
function matchesPort(value: string, port: number, protocol: string): boolean {
  const [range = '', wanted = 'tcp'] = value.split('/');
  const [first, last = first] = range.split('-').map(Number);
  return protocol === wanted && first !== undefined && last !== undefined && port >= first && port <= last;
}
