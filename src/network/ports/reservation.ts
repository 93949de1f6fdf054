import { closeSync } from 'node:fs';
import { EngineError, isErrno } from '../../base/errors.ts';
import { bindTcp, bindUdp } from '../../kernel/socket.ts';
import { parseIp } from '../ip.ts';
import type { PortBinding, PortReservation } from '../port.ts';
import { hostHasIpv6 } from '../sysctl.ts';
import { holderOf } from './port-holder.ts';

/** Which container has published a port, if one has: what the sockets alone do not tell. */
export type PublisherOf = (hostIp: string, hostPort: number, protocol: 'tcp' | 'udp') => string | undefined;

type Bound = { ip: string; fd: number; port: number };

/** How often a free port that one family gave is tried with the other. */
const freePortTries = 20;

/** Descriptors that keep ports, by `keyOf`, for as long as their reservation holds them. */
export type Reserved = Map<string, number>;

export function keyOf({ hostIp, hostPort, protocol }: Pick<PortBinding, 'hostIp' | 'hostPort' | 'protocol'>): string {
  return `${protocol} ${hostIp} ${hostPort}`;
}

/**
 * Takes host ports by binding them, which no other program can then do. The sockets of IPv4 never serve anybody: rules turn connections away
 * before they arrive; some of those of IPv6 do (`PortProxies`). All or nothing. Conflict `PORT_IN_USE`; InvalidArgument `PORT_INVALID`,
 * `HOST_ADDRESS_INVALID`.
 */
export async function reservePorts(
  bindings: readonly PortBinding[],
  { publisher, reserved, defaultIp = '' }: { publisher: PublisherOf; reserved: Reserved; defaultIp?: string | undefined },
): Promise<PortReservation> {
  const reservation = new SocketReservation(reserved);
  try {
    for (const binding of bindings) {
      check(binding);
      const wanted = { ...binding, hostIp: binding.hostIp || defaultIp };
      for (const bound of await bindFirstFree(wanted, publisher)) reservation.add(wanted, bound);
    }
    return reservation;
  } catch (error) {
    reservation.release();
    throw error;
  }
}

class SocketReservation implements PortReservation {
  readonly bindings: PortBinding[] = [];
  readonly fds: number[] = [];
  private readonly reserved: Reserved;

  constructor(reserved: Reserved) {
    this.reserved = reserved;
  }

  add({ hostPortEnd: _, ...asked }: PortBinding, { ip, fd, port }: Bound): void {
    const binding = { ...asked, hostIp: ip, hostPort: port };
    this.bindings.push(binding);
    this.fds.push(fd);
    this.reserved.set(keyOf(binding), fd);
  }

  release(): void {
    for (const [i, fd] of this.fds.splice(0).entries()) {
      const binding = this.bindings[i];
      if (binding !== undefined) this.reserved.delete(keyOf(binding));
      closeSync(fd);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

/** Sockets for one port: of both families for every address of a host that has IPv6. */
async function bindFirstFree(binding: PortBinding, publisher: PublisherOf): Promise<Bound[]> {
  const { hostIp, hostPort, hostPortEnd = hostPort, protocol } = binding;
  const ips = hostIp !== '' ? [hostIp] : hostHasIpv6() ? ['0.0.0.0', '::'] : ['0.0.0.0'];
  const candidates = hostPort === 0 ? new Array<number>(freePortTries).fill(0) : range(hostPort, hostPortEnd);
  let taken = ips[0] ?? '';
  for (const port of candidates) {
    const bound = bindAll(ips, port, binding);
    if (Array.isArray(bound)) return bound;
    taken = bound.taken;
  }
  throw await inUse(taken, hostPort, hostPortEnd, protocol, publisher);
}

function bindAll(ips: readonly string[], port: number, { hostIp, protocol }: PortBinding): Bound[] | { taken: string } {
  const bound: Bound[] = [];
  for (const ip of ips) {
    try {
      const number = bound[0]?.port ?? port;
      bound.push({ ip, ...(protocol === 'tcp' ? bindTcp : bindUdp)({ ip, port: number }) });
    } catch (error) {
      // A host whose IPv6 is switched off at run time has no `::` to bind.
      if (hostIp === '' && ip === '::' && isErrno(error, 'EADDRNOTAVAIL', 'EAFNOSUPPORT')) continue;
      for (const { fd } of bound) closeSync(fd);
      if (isErrno(error, 'EADDRINUSE')) return { taken: ip };
      throw refused(error, ip, port, protocol);
    }
  }
  return bound;
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

async function inUse(ip: string, first: number, last: number, protocol: 'tcp' | 'udp', publisher: PublisherOf): Promise<EngineError> {
  const shown = ip.includes(':') ? `[${ip}]` : ip;
  if (first !== last) {
    const message = `every host port of ${shown}:${first}-${last}/${protocol} is in use: all ports are allocated`;
    return new EngineError('Conflict', 'PORT_IN_USE', message, {
      hint: 'Publish a wider range, or leave the host port out to get a free one.',
    });
  }
  const container = publisher(ip, first, protocol);
  if (container !== undefined) {
    const message = `Bind for ${shown}:${first} failed: port is already allocated: ${protocol} port ${first} is already in use by ${container}`;
    return new EngineError('Conflict', 'PORT_IN_USE', message, { hint: 'Publish another host port, or stop what holds this one.' });
  }
  const holder = await holderOf(ip, first, protocol);
  const message = `listen ${protocol} ${shown}:${first}: bind: address already in use: host port ${shown}:${first}/${protocol} is already in use${holder === undefined ? '' : ` by ${holder}`}`;
  return new EngineError('Conflict', 'PORT_IN_USE', message, { hint: 'Publish another host port, or stop what holds this one.' });
}

function refused(error: unknown, ip: string, port: number, protocol: string): unknown {
  if (isErrno(error, 'EADDRNOTAVAIL', 'EAFNOSUPPORT')) {
    return new EngineError('InvalidArgument', 'HOST_ADDRESS_INVALID', `cannot publish on ${ip}: it is not an address of this host`, {
      hint: '"ip address" lists the addresses; without one, a port is published on all of them.',
      cause: error,
    });
  }
  if (isErrno(error, 'EACCES', 'EPERM')) {
    return new EngineError('Denied', 'PORT_DENIED', `the host does not let the engine bind ${ip}:${port}/${protocol}`, { cause: error });
  }
  return error;
}

function check({ hostIp, hostPort, hostPortEnd = hostPort, containerPort, protocol }: PortBinding): void {
  const isPort = (port: number, least: number) => Number.isInteger(port) && port >= least && port <= 65_535;
  if (!isPort(hostPort, 0) || !isPort(hostPortEnd, 0) || hostPortEnd < hostPort || !isPort(containerPort, 1)) {
    const message = `invalid port mapping ${hostPort}${hostPortEnd === hostPort ? '' : `-${hostPortEnd}`}:${containerPort}: ports are 1 to 65535`;
    throw new EngineError('InvalidArgument', 'PORT_INVALID', message);
  }
  if (protocol !== 'tcp' && protocol !== 'udp') {
    throw new EngineError(
      'Unsupported',
      'PROTOCOL_UNSUPPORTED',
      `cannot publish a port of protocol ${JSON.stringify(protocol)}: only tcp and udp`,
    );
  }
  if (hostIp !== '' && parseIp(hostIp) === undefined) {
    throw new EngineError('InvalidArgument', 'HOST_ADDRESS_INVALID', `invalid host address ${JSON.stringify(hostIp.slice(0, 60))}`, {
      hint: 'Give an address of this host, for example 127.0.0.1:8080:80 or [::1]:8080:80.',
    });
  }
}
