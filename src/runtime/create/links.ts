import { EngineError } from '../../base/errors.ts';
import type { Endpoint } from '../../network/port.ts';
import type { EngineContext } from '../context.ts';
import type { ContainerRecord } from '../port.ts';
import { networkMode } from './network-mode.ts';

/** `--link NAME[:ALIAS]`. */
export type Link = { name: string; alias: string };

/** InvalidArgument `LINK_INVALID` in Docker's words. A path stands where an inspect of an older engine was sent back: `/db:/web/alias`. */
export function parseLink(text: string): Link {
  const parts = text.split(':');
  const [name = '', alias = name] = parts;
  if (text === '') throw invalid('empty string specified for links');
  if (parts.length > 2 || name === '' || alias === '') throw invalid(`bad format for links: ${text}`);
  return { name: name.replace(/^\//, ''), alias: alias.split('/').at(-1) || alias };
}

function invalid(message: string): EngineError {
  return new EngineError('InvalidArgument', 'LINK_INVALID', message, { hint: 'Write NAME or NAME:ALIAS.' });
}

/** Links on the default network name containers that are there; the others' are by name, and may come later. InvalidArgument. */
export function checkLinks(
  hostConfig: ContainerRecord['hostConfig'],
  find: (name: string) => Pick<ContainerRecord, 'hostConfig'>,
): string[] {
  const links = (hostConfig.Links ?? []).map(parseLink);
  const mode = networkMode(hostConfig);
  if (links.length === 0 || mode.kind !== 'network' || mode.name !== 'bridge') return [];
  for (const { name } of links) {
    const other = findLinked(name, find);
    if (networkMode(other.hostConfig).kind === 'host')
      throw invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior");
  }
  return ['Links on the default bridge network are deprecated and will be removed in a future release. Use a custom network instead.'];
}

function findLinked<T>(name: string, find: (name: string) => T): T {
  try {
    return find(name);
  } catch (error) {
    if (!(error instanceof EngineError && error.kind === 'NotFound')) throw error;
    // NotFound would make clients look for the image.
    throw new EngineError('InvalidArgument', 'LINK_INVALID', `could not get container for ${name}: ${error.message}`, { cause: error });
  }
}

/** What a container sees of one that it links to, on a network that both are on. */
export type Linked = { alias: string; other: ContainerRecord; endpoint: Endpoint };

/** On the default network a link to what does not run is a Conflict; elsewhere it says nothing until the other runs. */
export function linkedContainers(context: Pick<EngineContext, 'registry'>, record: ContainerRecord): Linked[] {
  return linkList(record).flatMap(({ network, name, alias }) => {
    const legacy = network === 'bridge';
    const other = legacy
      ? findLinked(name, (each) => context.registry.find(each)).record
      : optional(() => context.registry.find(name).record);
    const isRunning = other?.state.status === 'running';
    if (legacy && !isRunning) {
      throw new EngineError(
        'Conflict',
        'LINK_NOT_RUNNING',
        `Cannot link to a non running container: /${other?.name ?? name} AS /${record.name}/${alias}`,
        {
          hint: `Start it first: slipway start ${other?.name ?? name}`,
          exitCode: 125,
        },
      );
    }
    const endpoint = isRunning ? other.endpoints.find((each) => each.network === network) : undefined;
    if (legacy && endpoint === undefined)
      throw new EngineError(
        'Conflict',
        'LINK_ELSEWHERE',
        `Cannot link to /${other?.name ?? name}, as it does not belong to the default network`,
        { exitCode: 125 },
      );
    return other && endpoint ? [{ alias, other, endpoint }] : [];
  });
}

function linkList(record: ContainerRecord): (Link & { network: string })[] {
  const mode = networkMode(record.hostConfig);
  if (mode.kind !== 'network') return [];
  const own = (record.hostConfig.Links ?? []).map((text) => ({ ...parseLink(text), network: mode.name }));
  const others = record.networks.flatMap(({ name, links = [] }) => links.map((text) => ({ ...parseLink(text), network: name })));
  // Clients name a link to a network's container both ways.
  const all = [...own, ...others];
  return all.filter((link, index) => all.findIndex((other) => sameLink(link, other)) === index);
}

const sameLink = (a: Link & { network: string }, b: Link & { network: string }) =>
  a.network === b.network && a.name === b.name && a.alias === b.alias;

function optional<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

/** Lines of /etc/hosts: the alias, the host name and the name of each. */
export function linkHosts(linked: readonly Linked[]): string[] {
  return linked.flatMap(({ alias, other, endpoint }) => {
    const names = [...new Set([alias, other.config.Hostname ?? '', other.name])].filter((name) => name !== '').join(' ');
    return [endpoint.ipAddress, endpoint.ipv6Address].filter((address) => address !== '').map((address) => `${address}\t${names}`);
  });
}

/** Docker's variables of links on the default network: `ALIAS_PORT`, `ALIAS_PORT_80_TCP_ADDR`, `ALIAS_ENV_…`. */
export function linkVariables(linked: readonly Linked[], record: Pick<ContainerRecord, 'name'>): string[] {
  return linked.filter(({ endpoint }) => endpoint.network === 'bridge').flatMap((link) => variablesOf(link, record));
}

function variablesOf({ alias, other, endpoint }: Linked, record: Pick<ContainerRecord, 'name'>): string[] {
  const name = alias.toUpperCase().replaceAll('-', '_');
  const address = endpoint.ipAddress;
  const ports = Object.keys(other.config.ExposedPorts ?? {})
    .map((port) => ({ number: Number.parseInt(port, 10), protocol: port.split('/')[1] ?? 'tcp' }))
    .sort((a, b) => (a.protocol === b.protocol ? a.number - b.number : a.protocol === 'tcp' ? -1 : 1));
  const [first] = ports;
  const env = (other.config.Env ?? []).filter((entry) => entry.includes('=') && !/^(HOME|PATH)=/.test(entry));
  return [
    ...(first ? [`${name}_PORT=${first.protocol}://${address}:${first.number}`] : []),
    ...ports.flatMap(({ number, protocol }) => {
      const prefix = `${name}_PORT_${number}_${protocol.toUpperCase()}`;
      return [
        `${prefix}=${protocol}://${address}:${number}`,
        `${prefix}_ADDR=${address}`,
        `${prefix}_PORT=${number}`,
        `${prefix}_PROTO=${protocol}`,
      ];
    }),
    `${name}_NAME=/${record.name}/${alias}`,
    ...env.map((entry) => `${name}_ENV_${entry}`),
  ];
}

/** Ids of running containers that link to this one: its address may have changed under them. */
export function linkingTo(context: Pick<EngineContext, 'registry'>, record: ContainerRecord): ContainerRecord[] {
  const names = new Set([record.name, record.id]);
  return context.registry
    .all()
    .map((container) => container.record)
    .filter((other) => other.state.status === 'running' && other.id !== record.id)
    .filter((other) => linkList(other).some(({ name }) => names.has(name) || record.id.startsWith(name)));
}
