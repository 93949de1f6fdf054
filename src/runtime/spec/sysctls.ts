import { existsSync } from 'node:fs';
import type { HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { SharedNamespaces } from './namespaces.ts';

/** Settings of the ipc namespace (ipc_namespaces(7)). */
const ofIpc = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
]);
/** Set by the engine through fields of their own. */
const ofUts: Record<string, string> = { 'kernel.domainname': '--domainname', 'kernel.hostname': '--hostname' };

/**
 * Settings are the container's only where a namespace of its own holds them; all others would change the host or another container.
 * InvalidArgument `SYSCTL_INVALID` names the setting.
 */
export function checkSysctls(
  sysctls: HostConfig['Sysctls'],
  shared: { network: 'own' | 'host' | 'container'; ipc: 'own' | 'host' | 'container' },
): void {
  for (const [name, value] of Object.entries(sysctls ?? {})) {
    const refuse = (why: string, hint?: string) => {
      throw new EngineError('InvalidArgument', 'SYSCTL_INVALID', `sysctl ${JSON.stringify(name)} ${why}`, { hint });
    };
    if (/[\0\n]/.test(value) || !/^[\w.:@/-]+$/.test(name) || name.split(/[./]/).includes('')) refuse('is not one that can be set');
    const plain = normalize(name);
    if (plain.startsWith('net.')) {
      if (shared.network === 'host') refuse('not allowed in host network namespace');
      if (shared.network === 'container') refuse("is another container's: its network is shared", 'Set it there.');
    } else if (ofIpc.has(plain) || plain.startsWith('fs.mqueue.')) {
      if (shared.ipc === 'host') refuse('not allowed in host IPC namespace');
      if (shared.ipc === 'container') refuse("is another container's: its IPC namespace is shared", 'Set it there.');
    } else refuse('is not in a separate kernel namespace', ofUts[plain] && `Use ${ofUts[plain]}.`);
  }
}

/** With slashes, dots are part of a name (sysctl.d(5)): `net/ipv4/conf/eth0.1/rp_filter`. The first of both decides. */
function normalize(name: string): string {
  const first = /[./]/.exec(name)?.[0];
  return first === '/' ? name.replace(/[./]/g, (each) => (each === '/' ? '.' : '/')) : name;
}

/**
 * In a network namespace of its own a container may open ports below 1024 and send pings without a capability, as in Docker. Pings need ids of
 * the host's: not in a user namespace.
 */
export function defaultSysctls({
  namespaces,
  record,
}: {
  namespaces: SharedNamespaces;
  record: { idMap?: unknown; hostConfig: Pick<HostConfig, 'NetworkMode'> };
}): Record<string, string> {
  const shared = (record.hostConfig.NetworkMode ?? '').startsWith('container:');
  if (namespaces.network === 'host' || shared) return {};
  const pings = record.idMap === undefined && existsSync('/proc/sys/net/ipv4/ping_group_range');
  return {
    ...(pings ? { 'net.ipv4.ping_group_range': '0 2147483647' } : {}),
    ...(existsSync('/proc/sys/net/ipv4/ip_unprivileged_port_start') ? { 'net.ipv4.ip_unprivileged_port_start': '0' } : {}),
  };
}
