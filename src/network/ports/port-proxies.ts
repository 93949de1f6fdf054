import { closeSync } from 'node:fs';
import { EngineError, errnoOf, isErrno, toErrorData } from '../../base/errors.ts';
import { descriptorOf, duplicate } from '../../kernel/descriptors.ts';
import { pidfdOpen } from '../../kernel/process.ts';
import { bindTcp, bindUdp } from '../../kernel/socket.ts';
import type { PortBinding } from '../port.ts';
import { findHolders, socketInodes, socketTables } from './port-holder.ts';
import { type PortProxy, proxyTcp, proxyUdp } from './port-proxy.ts';
import { keyOf, type Reserved } from './reservation.ts';

/** A port whose connections the engine passes on itself. */
export type ProxiedPort = { binding: PortBinding; target: { ip: string; port: number } };

/** How long all processes of the host may be looked through for sockets that an earlier engine left with their monitors. */
const searchLimitMs = 3000;

/**
 * Ports that no rule can lead to their container: those on IPv6 of a container that has IPv4 only, and ::1. They are served by the very sockets
 * that reserve them. While no engine runs connections wait in their queues; the next engine gets the sockets from the monitors that hold them.
 */
export class PortProxies {
  private readonly reserved: Reserved;
  private readonly wanted: () => readonly ProxiedPort[];
  private readonly log: (message: string) => void;
  private readonly running = new Map<string, { to: string; proxy: PortProxy }>();

  constructor(options: { reserved: Reserved; wanted: () => readonly ProxiedPort[]; log: (message: string) => void }) {
    this.reserved = options.reserved;
    this.wanted = options.wanted;
    this.log = options.log;
  }

  /** Starts and ends proxies so that they are as wanted. `adopt` looks for the sockets of an earlier engine too. */
  async sync({ adopt = false } = {}): Promise<void> {
    const wanted = new Map(this.wanted().map((port) => [keyOf(port.binding), port]));
    for (const [key, { to, proxy }] of this.running) {
      const port = wanted.get(key);
      if (port !== undefined && to === targetText(port)) continue;
      this.running.delete(key);
      proxy.close();
    }
    const missing = [...wanted].filter(([key]) => !this.running.has(key));
    if (missing.length === 0) return;
    const adopted = adopt ? await this.findSockets(missing.map(([, port]) => port)) : new Map<string, number>();
    for (const [key, port] of missing) {
      if (this.running.has(key)) continue;
      this.start(key, port, adopted.get(key));
      adopted.delete(key);
    }
    for (const fd of adopted.values()) closeSync(fd);
  }

  close(): void {
    for (const { proxy } of this.running.values()) proxy.close();
    this.running.clear();
  }

  private start(key: string, port: ProxiedPort, adopted: number | undefined): void {
    const { protocol, hostIp, hostPort } = port.binding;
    try {
      const held = this.reserved.get(key);
      const fd = adopted ?? (held === undefined ? bind(port.binding) : duplicate(held));
      const proxy = (protocol === 'tcp' ? proxyTcp : proxyUdp)(fd, port.target);
      this.running.set(key, { to: targetText(port), proxy });
    } catch (error) {
      this.log(`port [${hostIp}]:${hostPort}/${protocol} leads nowhere: ${toErrorData(error).message}`);
    }
  }

  private async findSockets(ports: readonly ProxiedPort[]): Promise<Map<string, number>> {
    const tables = { tcp: await socketTables('tcp'), udp: await socketTables('udp') };
    const keys = new Map<string, string>();
    for (const { binding } of ports) {
      const { protocol, hostIp, hostPort } = binding;
      const [, table = ''] = tables[protocol];
      for (const inode of socketInodes(table, hostIp, hostPort, protocol)) keys.set(inode, keyOf(binding));
    }
    const found = new Map<string, number>();
    for (const [inode, { pid, fd }] of await findHolders(new Set(keys.keys()), { limitMs: searchLimitMs, first: false })) {
      const copy = copyOf(pid, fd);
      if (copy !== undefined) found.set(keys.get(inode) ?? '', copy);
    }
    return found;
  }
}

function targetText({ target }: ProxiedPort): string {
  return `${target.ip} ${target.port}`;
}

function bind({ protocol, hostIp, hostPort }: PortBinding): number {
  try {
    return (protocol === 'tcp' ? bindTcp : bindUdp)({ ip: hostIp, port: hostPort }).fd;
  } catch (error) {
    if (!isErrno(error, 'EADDRINUSE')) throw error;
    throw new EngineError('Conflict', 'PORT_IN_USE', 'its socket is not to be found, and another has the port', { cause: error });
  }
}

function copyOf(pid: number, fd: number): number | undefined {
  try {
    const pidfd = pidfdOpen(pid);
    try {
      return descriptorOf(pidfd, fd);
    } finally {
      closeSync(pidfd);
    }
  } catch (error) {
    if (['ESRCH', 'EBADF', 'EPERM', 'ENOSYS'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
