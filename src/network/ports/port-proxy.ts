import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, type Socket } from 'node:net';

/** Passes what comes to one port on to another address, until closed. */
export type PortProxy = { close(): void };
type Target = { ip: string; port: number };

/** Connections wait for the container's answer no longer than this. */
const connectTimeoutMs = 10_000;
/** A client from which nothing came, and to which nothing went, is forgotten. */
const udpIdleMs = 90_000;
const udpClientsMost = 4096;

/** Serves a listening socket, which is this function's from now on. Half-closed connections stay so. */
export function proxyTcp(fd: number, target: Target): PortProxy {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const container = connect({ host: target.ip, port: target.port, allowHalfOpen: true });
    const timer = setTimeout(() => container.destroy(), connectTimeoutMs);
    container.once('connect', () => clearTimeout(timer));
    for (const [from, to] of [
      [client, container],
      [container, client],
    ] as const) {
      open.add(from);
      from.pipe(to);
      // A reset goes on to the other side as one.
      from.on('error', () => to.resetAndDestroy());
      from.on('close', () => {
        clearTimeout(timer);
        open.delete(from);
        if (!from.readableEnded) to.destroy();
      });
    }
  });
  server.on('error', () => undefined);
  server.listen({ fd });
  server.unref();
  return {
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

type Client = { socket: UdpSocket; timer: NodeJS.Timeout };

/** As `proxyTcp`, for a bound UDP socket: each client gets a socket towards the container, so that answers find their way back. */
export function proxyUdp(fd: number, target: Target): PortProxy {
  const server = createSocket({ type: 'udp6', ipv6Only: true });
  const clients = new Map<string, Client>();
  const forget = (key: string) => {
    const client = clients.get(key);
    clients.delete(key);
    clearTimeout(client?.timer);
    client?.socket.close();
  };
  const meet = (key: string, address: string, port: number): Client => {
    const socket = createSocket(target.ip.includes(':') ? 'udp6' : 'udp4');
    const client = { socket, timer: setTimeout(() => forget(key), udpIdleMs).unref() };
    socket.on('message', (message) => {
      client.timer.refresh();
      server.send(message, port, address, () => undefined);
    });
    socket.on('error', () => forget(key));
    socket.unref();
    clients.set(key, client);
    return client;
  };
  server.on('message', (message, { address, port }) => {
    const key = `${address} ${port}`;
    const known = clients.get(key);
    if (known === undefined && clients.size >= udpClientsMost) return;
    const client = known ?? meet(key, address, port);
    client.timer.refresh();
    client.socket.send(message, target.port, target.ip, () => undefined);
  });
  server.on('error', () => undefined);
  server.bind({ fd });
  server.unref();
  return {
    close() {
      for (const key of [...clients.keys()]) forget(key);
      server.close();
    },
  };
}
