import { open, readFile, writeFile } from 'node:fs/promises';
import { isErrno } from '../base/errors.ts';
import type { Endpoint } from '../network/port.ts';
import type { EngineContext } from './context.ts';
import { linkedContainers, linkHosts, linkingTo } from './create/links.ts';
import { networkMode } from './create/network-mode.ts';
import type { ContainerRecord } from './port.ts';
import { extraHostLines, hostsFile, resolvConf } from './spec/etc-files.ts';
import { giveToRoot } from './spec/user-namespace.ts';

const names = ['resolv.conf', 'hostname', 'hosts'] as const;

/**
 * The files that the container sees as /etc/hosts, /etc/hostname and /etc/resolv.conf; those of the other container when its network is shared.
 * They exist when this resolves, so that they can be mounted; what is in them is for `writeEtcFiles`, which keeps their inodes.
 */
export async function placeEtcFiles(context: EngineContext, record: ContainerRecord): Promise<{ source: string; destination: string }[]> {
  const owner = ownerOf(context, record);
  const files = names.map((name) => ({ source: context.paths.container(owner, name), destination: `/etc/${name}` }));
  if (owner === record.id) {
    await Promise.all(
      files.map(async ({ source }) => {
        await using _ = await open(source, 'a', 0o644);
      }),
    );
    await giveToRoot(
      record.idMap,
      files.map(({ source }) => source),
    );
  }
  return files;
}

/** Writes them in place: a running container sees the change. A no-op when they are another container's. */
export async function writeEtcFiles(context: EngineContext, record: ContainerRecord, endpoints: readonly Endpoint[]): Promise<void> {
  if (ownerOf(context, record) !== record.id) return;
  const { hostConfig, config } = record;
  const onHost = networkMode(hostConfig).kind === 'host';
  const gateway = endpoints.find(({ gateway }) => gateway !== '')?.gateway;
  const hosts = onHost
    ? [(await readHost('/etc/hosts')).trimEnd(), ...extraHostLines(hostConfig.ExtraHosts ?? [], '127.0.0.1'), ''].join('\n')
    : hostsFile({
        hostname: config.Hostname ?? '',
        domainname: config.Domainname,
        addresses: endpoints.flatMap(({ ipAddress, ipv6Address }) => [ipAddress, ipv6Address]).filter(Boolean),
        extraHosts: hostConfig.ExtraHosts ?? [],
        gateway,
        links: linkHosts(linkedContainers(context, record)),
      });
  const resolv = resolvConf({
    host: await hostResolvConf(onHost),
    network: endpoints.flatMap(({ dnsServers }) => dnsServers),
    dns: hostConfig.Dns ?? [],
    search: hostConfig.DnsSearch ?? [],
    options: hostConfig.DnsOptions ?? [],
    keepLoopback: onHost,
  });
  await Promise.all([
    writeFile(context.paths.container(record.id, 'hosts'), hosts, { mode: 0o644 }),
    writeFile(context.paths.container(record.id, 'resolv.conf'), resolv, { mode: 0o644 }),
    writeFile(context.paths.container(record.id, 'hostname'), `${config.Hostname ?? ''}\n`, { mode: 0o644 }),
  ]);
}

/** Has those that link to this container find it where it is now. */
export async function updateLinkingHosts(context: EngineContext, record: ContainerRecord): Promise<void> {
  await Promise.all(linkingTo(context, record).map((other) => writeEtcFiles(context, other, other.endpoints)));
}

function ownerOf(context: EngineContext, record: ContainerRecord): string {
  const mode = networkMode(record.hostConfig);
  return mode.kind === 'container' ? context.registry.find(mode.container).id : record.id;
}

/** With systemd-resolved, /etc names only its stub on the loopback; the servers behind it are in another file. */
export async function hostResolvConf(onHost: boolean): Promise<string> {
  const text = await readHost('/etc/resolv.conf');
  const onlyStub = /^nameserver\s+127\.0\.0\.53\s*$/m.test(text);
  return !onHost && onlyStub ? (await readHost('/run/systemd/resolve/resolv.conf')) || text : text;
}

async function readHost(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}
