import { closeSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { EngineError, isErrno } from '../base/errors.ts';
import { bindTcp, bindUdp } from '../kernel/socket.ts';
import { parseIpv4 } from './ipv4.ts';
import type { PortBinding, PortReservation } from './port.ts';
import { holderOf } from './port-holder.ts';

/** Which container has published a port, if one has: what the sockets alone do not tell. */
export type PublisherOf = (hostIp: string, hostPort: number, protocol: 'tcp' | 'udp') => string | undefined;

/**
 * Takes host ports by binding them, which no other program can then do. The sockets never serve anybody: rules turn connections away
 * before they arrive. All or nothing. Conflict `PORT_IN_USE`; InvalidArgument `PORT_INVALID`, `HOST_ADDRESS_INVALID`.
 */
export async function reservePorts(bindings: readonly PortBinding[], publisher: PublisherOf): Promise<PortReservation> {
  const reservation = new SocketReservation();
  try {
    for (const binding of bindings) {
      check(binding);
      reservation.add(binding, await bindFirstFree(binding, publisher));
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

  add({ hostPortEnd: _, ...binding }: PortBinding, { fd, port }: { fd: number; port: number }): void {
    this.bindings.push({ ...binding, hostPort: port });
    this.fds.push(fd);
  }

  release(): void {
    for (const fd of this.fds.splice(0)) closeSync(fd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
  }
}

async function bindFirstFree(binding: PortBinding, publisher: PublisherOf): Promise<{ fd: number; port: number }> {
  const { hostIp, hostPort, hostPortEnd = hostPort, protocol } = binding;
  const bind = protocol === 'tcp' ? bindTcp : bindUdp;
  const ip = hostIp === '' ? '0.0.0.0' : hostIp;
  for (let port = hostPort; port <= hostPortEnd; port++) {
    try {
      return bind({ ip, port });
    } catch (error) {
      if (isErrno(error, 'EADDRINUSE')) continue;
      throw refused(error, ip, port, protocol);
    }
  }
  throw await inUse(ip, hostPort, hostPortEnd, protocol, publisher);
}

async function inUse(ip: string, first: number, last: number, protocol: 'tcp' | 'udp', publisher: PublisherOf): Promise<EngineError> {
  if (first !== last) {
    const message = `every host port of ${ip}:${first}-${last}/${protocol} is in use`;
    return new EngineError('Conflict', 'PORT_IN_USE', message, {
      hint: 'Publish a wider range, or leave the host port out to get a free one.',
    });
  }
  const holder = publisher(ip, first, protocol) ?? (await holderOf(ip, first, protocol));
  const message = `host port ${ip}:${first}/${protocol} is already in use${holder === undefined ? '' : ` by ${holder}`}`;
  return new EngineError('Conflict', 'PORT_IN_USE', message, { hint: 'Publish another host port, or stop what holds this one.' });
}

function refused(error: unknown, ip: string, port: number, protocol: string): unknown {
  if (isErrno(error, 'EADDRNOTAVAIL')) {
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
  if (isIPv6(hostIp)) {
    throw new EngineError('Unsupported', 'IPV6_UNSUPPORTED', `cannot publish on ${hostIp}: IPv6 is not supported yet`, {
      hint: 'Publish on an IPv4 address, or on none for all of them.',
    });
  }
  if (hostIp !== '' && parseIpv4(hostIp) === undefined) {
    throw new EngineError('InvalidArgument', 'HOST_ADDRESS_INVALID', `invalid host address ${JSON.stringify(hostIp.slice(0, 60))}`, {
      hint: 'Give an IPv4 address of this host, for example 127.0.0.1:8080:80.',
    });
  }
}
