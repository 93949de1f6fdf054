import { readFile, writeFile } from 'node:fs/promises';
import { EngineError } from '../base/errors.ts';
import type { EndpointConfig, NetworkInfo } from '../network/port.ts';
import type { Container } from './container.ts';
import type { EngineContext } from './context.ts';
import { networkMode } from './create/network-mode.ts';
import { updateLinkingHosts, writeEtcFiles } from './etc-files.ts';

/**
 * Joins a network: at once when the container runs, else with its next start. Inside the container's `exclusive`. InvalidArgument where its mode has no
 * room for another, Denied `ALREADY_CONNECTED` when it runs on it.
 */
export async function connectLocked(context: EngineContext, container: Container, wanted: EndpointConfig): Promise<void> {
  const { record } = container;
  requirePresent(container);
  const network = await context.networks.get(wanted.name);
  checkModes(record.hostConfig, network);
  const endpoint: EndpointConfig = { ...wanted, name: network.name };
  const before = { networks: record.networks, endpoints: record.endpoints };
  if (record.state.status === 'running') {
    const names = { containerName: record.name, hostname: record.config.Hostname ?? '', dnsServers: record.hostConfig.Dns ?? [] };
    record.endpoints = [...record.endpoints, await context.networks.connect(container.id, endpoint, names)];
  } else if (await isOn(context, before.networks, network)) return;
  record.networks = [...record.networks, endpoint];
  try {
    await showChange(context, container, before.endpoints);
    await context.registry.save(container);
  } catch (error) {
    Object.assign(record, before);
    if (record.state.status === 'running') await context.networks.disconnect(container.id, network.name);
    throw error;
  }
}

/** Leaves a network. With `force` also one that is not there any more. */
export async function disconnectLocked(context: EngineContext, container: Container, name: string, force: boolean): Promise<void> {
  const { record } = container;
  requirePresent(container);
  const network = await context.networks.get(name).catch((error: unknown) => {
    if (force && error instanceof EngineError && error.kind === 'NotFound') return undefined;
    throw error;
  });
  if (network?.driver === 'host' || networkMode(record.hostConfig).kind === 'host') throw hostConflict();
  const names = new Set([name, network?.name, network?.id]);
  const left = record.networks.filter((endpoint) => !names.has(endpoint.name));
  if (left.length === record.networks.length) {
    throw new EngineError(
      'Internal',
      'NOT_CONNECTED',
      `container ${container.id} is not connected to ${record.state.status === 'running' ? '' : 'the '}network ${network?.name ?? name}`,
    );
  }
  const before = record.endpoints;
  if (record.state.status === 'running' && network !== undefined) {
    await context.networks.disconnect(container.id, network.name);
    record.endpoints = before.filter(({ networkId }) => networkId !== network.id);
  }
  record.networks = left;
  await showChange(context, container, before);
  await context.registry.saveIfRoom(container);
}

function requirePresent({ record }: Container): void {
  if (record.state.status !== 'removing' && record.state.status !== 'dead') return;
  const message = `Container ${record.id} is marked for removal and cannot be connected or disconnected to the network`;
  throw new EngineError('Conflict', 'CONTAINER_REMOVING', message);
}

/** Docker's rules and words. */
function checkModes(hostConfig: Container['record']['hostConfig'], network: NetworkInfo): void {
  const { kind } = networkMode(hostConfig);
  if (kind === 'container') {
    throw new EngineError(
      'InvalidArgument',
      'NETWORK_SHARED',
      'container sharing network namespace with another container or host cannot be connected to any other network',
    );
  }
  if (kind === 'host' || network.driver === 'host') throw hostConflict();
  if (kind === 'none' || network.driver === 'null') {
    throw new EngineError(
      'InvalidArgument',
      'NETWORK_NONE',
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
    );
  }
}

function hostConflict(): EngineError {
  return new EngineError(
    'InvalidArgument',
    'NETWORK_HOST',
    'container cannot be disconnected from host network or connected to host network',
  );
}

/** A record's networks are by the names that were given, which may be ids. */
async function isOn(context: EngineContext, networks: readonly EndpointConfig[], network: NetworkInfo): Promise<boolean> {
  const known = await Promise.all(networks.map(({ name }) => context.networks.get(name).catch(() => undefined)));
  return known.some((other) => other?.id === network.id);
}

/** /etc/hosts and /etc/resolv.conf of the container, and of those that link to it. What was written into /etc/hosts inside stays. */
async function showChange(context: EngineContext, container: Container, before: Container['record']['endpoints']): Promise<void> {
  const { record } = container;
  if (record.state.status !== 'running') return;
  const path = context.paths.container(container.id, 'hosts');
  const old = (await readFile(path, 'utf8')).split('\n');
  await writeEtcFiles(context, record, record.endpoints);
  const fresh = await readFile(path, 'utf8');
  const known = new Set(fresh.split('\n'));
  const addresses = before.flatMap(({ ipAddress, ipv6Address }) => [ipAddress, ipv6Address]);
  const own = old.filter((line) => !known.has(line) && !addresses.includes(line.split(/\s/)[0] ?? ''));
  if (own.length > 0) await writeFile(path, `${fresh}${own.join('\n')}\n`);
  await updateLinkingHosts(context, record);
}
