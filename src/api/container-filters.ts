import type { ContainerRecord, Containers } from '../runtime/port.ts';
import type { Images } from '../store/port.ts';
import { isRunning, statusOf } from './encode/container-state.ts';
import { listPorts } from './encode/ports.ts';
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
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
];

const statuses = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];
const healths = ['none', 'starting', 'healthy', 'unhealthy'];

export type ContainerTest = (record: ContainerRecord) => boolean;

/** The filters of GET /containers/json as one test. Names of images and containers in them are resolved once. */
export async function containerTest(filters: Filters, services: { containers: Containers; images: Images }): Promise<ContainerTest> {
  requireOneOf(filters, 'status', statuses);
  requireOneOf(filters, 'health', healths);
  const exitCodes = filters.get('exited').map(exitCode);
  const isTask = filters.boolean('is-task');
  const ancestors = await ancestorIds(filters, services.images);
  const [before, since] = await Promise.all([
    neighbours(filters, 'before', services.containers),
    neighbours(filters, 'since', services.containers),
  ]);
  const onPorts = portTest(filters);
  return (record) =>
    filters.any('status', (value) => value === statusOf(record.state)) &&
    filters.any('id', (value) => record.id.startsWith(value)) &&
    filters.matches('name', record.name, `/${record.name}`) &&
    filters.labels(record.config.Labels) &&
    (exitCodes.length === 0 || (record.state.status === 'exited' && exitCodes.includes(record.state.exitCode))) &&
    (ancestors === undefined || ancestors.has(record.image.id)) &&
    before.every((other) => isOlder(record, other)) &&
    since.every((other) => isOlder(other, record)) &&
    filters.any('volume', (value) =>
      record.mounts.some((mount) => mount.destination === value || (mount.name ?? mount.source) === value),
    ) &&
    filters.any('network', (value) => usesNetwork(record, value)) &&
    filters.any('health', (value) => value === (record.health?.status ?? 'none')) &&
    // Tasks are a swarm's; isolation is Windows'.
    isTask !== true &&
    onPorts(record);
}

/** Whether a listing without `all` shows it. */
export function isShownByDefault(record: ContainerRecord): boolean {
  return isRunning(record.state);
}

/** Newest first; of those made in the same millisecond the order is at least always the same. */
export function newestFirst(a: ContainerRecord, b: ContainerRecord): number {
  return b.createdAtMs - a.createdAtMs || (a.id < b.id ? -1 : 1);
}

function isOlder(record: ContainerRecord, other: ContainerRecord): boolean {
  return record.id !== other.id && newestFirst(record, other) > 0;
}

function requireOneOf(filters: Filters, key: string, allowed: readonly string[]): void {
  for (const value of filters.get(key)) {
    if (allowed.includes(value)) continue;
    const shown = value.slice(0, 100);
    throw invalid(
      'FILTER_INVALID',
      `invalid filter '${key}=${shown}': invalid value for ${key} (${shown}): must be one of ${allowed.join(', ')}`,
    );
  }
}

function exitCode(value: string): number {
  if (/^-?\d{1,9}$/.test(value)) return Number(value);
  throw invalid('FILTER_INVALID', `invalid filter 'exited=${value.slice(0, 100)}'`, 'Give an exit code, 0 to 255.');
}

/** What is no image is nobody's ancestor. */
async function ancestorIds(filters: Filters, images: Images): Promise<Set<string> | undefined> {
  if (!filters.has('ancestor')) return undefined;
  const found = await Promise.all(filters.get('ancestor').map((name) => images.resolve(name).catch(() => undefined)));
  return new Set(found.flatMap((image) => (image === undefined ? [] : [image.id])));
}

function neighbours(filters: Filters, key: 'before' | 'since', containers: Containers): Promise<ContainerRecord[]> {
  return Promise.all(filters.get(key).map((name) => containers.get(name.replace(/^\//, ''))));
}

function usesNetwork(record: ContainerRecord, wanted: string): boolean {
  return (
    record.hostConfig.NetworkMode === wanted ||
    record.networks.some(({ name }) => name === wanted) ||
    record.endpoints.some(({ network, networkId }) => network === wanted || networkId.startsWith(wanted))
  );
}

type PortRange = { first: number; last: number; protocol: string };

/** A port that is published as wanted, or exposed as wanted, will do. */
function portTest(filters: Filters): ContainerTest {
  const published = filters.get('publish').map((value) => portRange('publish', value));
  const exposed = filters.get('expose').map((value) => portRange('expose', value));
  if (published.length === 0 && exposed.length === 0) return () => true;
  const inside = (ranges: PortRange[], port: number | undefined, type: string) =>
    port !== undefined && ranges.some(({ first, last, protocol }) => protocol === type && port >= first && port <= last);
  return (record) =>
    listPorts(record).some(
      ({ PublicPort, PrivatePort, Type }) => inside(published, PublicPort, Type) || inside(exposed, PrivatePort, Type),
    );
}

/** `80`, `80/udp`, `8000-8010/tcp`. */
function portRange(key: string, value: string): PortRange {
  if (value.includes(':')) {
    throw invalid('FILTER_INVALID', `filter for '${key}' should not contain ':': ${value.slice(0, 100)}`);
  }
  const [, from = '', to = from, protocol = 'tcp'] = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(value) ?? [];
  const first = Number(from);
  const last = Number(to);
  if (from === '' || first > last || last > 65_535) {
    throw invalid('FILTER_INVALID', `error while looking up for ${key} ${value.slice(0, 100)}: invalid port or range`);
  }
  return { first, last, protocol: protocol.toLowerCase() };
}
