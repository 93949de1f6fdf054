import { EngineError } from '../../base/errors.ts';

export type HostsInput = {
  hostname: string;
  domainname?: string | undefined;
  /** The container's own addresses, one line each. */
  addresses: readonly string[];
  /** `name:address`, as --add-host; `host-gateway` stands for `gateway`. */
  extraHosts: readonly string[];
  gateway?: string | undefined;
  /** Lines of containers that are linked to. */
  links?: readonly string[] | undefined;
};

/** /etc/hosts as Docker writes it. */
export function hostsFile(input: HostsInput): string {
  const own = input.domainname ? `${input.hostname}.${input.domainname} ${input.hostname}` : input.hostname;
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'ff00::0\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...extraHostLines(input.extraHosts, input.gateway),
    ...(input.links ?? []),
    ...input.addresses.map((address) => `${address}\t${own}`),
    '',
  ].join('\n');
}

export function extraHostLines(extraHosts: readonly string[], gateway: string | undefined): string[] {
  return extraHosts.map((entry) => {
    const { name, address } = parseExtraHost(entry);
    if (address !== 'host-gateway') return `${address}\t${name}`;
    if (gateway) return `${gateway}\t${name}`;
    throw new EngineError('InvalidArgument', 'HOST_GATEWAY_UNKNOWN', `unable to derive the IP value for host-gateway in "${entry}"`, {
      hint: 'host-gateway needs a bridge network.',
    });
  });
}

/** `name:address` or `name=address`; an IPv6 address may stand in brackets. */
export function parseExtraHost(entry: string): { name: string; address: string } {
  const match = /^([^:=\s]+)[:=]\[?([0-9a-fA-F:.]+|host-gateway)\]?$/.exec(entry);
  if (!match?.[1] || !match[2]) {
    throw new EngineError('InvalidArgument', 'EXTRA_HOST_INVALID', `bad format for add-host: "${entry}"`, {
      hint: 'Write NAME:ADDRESS, such as db:10.0.0.5 or host.docker.internal:host-gateway.',
    });
  }
  return { name: match[1], address: match[2] };
}

export type ResolvInput = {
  /** The host's own file. */
  host: string;
  /** Servers that the network brings, before all others. */
  network: readonly string[];
  dns: readonly string[];
  search: readonly string[];
  options: readonly string[];
  /** False with a network namespace of its own, where the host's loopback resolver cannot be reached. */
  keepLoopback: boolean;
};

const publicServers = ['8.8.8.8', '8.8.4.4'];

/**
 * /etc/resolv.conf: what the caller asks for replaces the host's lines of that kind. A host whose servers are all on its loopback is
 * given public ones, as in Docker.
 */
export function resolvConf(input: ResolvInput): string {
  const lines = input.host.split('\n').map((line) => line.replace(/[#;].*$/, '').trim());
  const values = (key: string) =>
    lines.filter((line) => line.startsWith(`${key} `) || line.startsWith(`${key}\t`)).map((line) => line.slice(key.length).trim());
  const hostServers = values('nameserver').filter((server) => input.keepLoopback || !isLoopback(server));
  const asked = input.dns.length > 0 ? input.dns : hostServers.length > 0 || input.keepLoopback ? hostServers : publicServers;
  const servers = input.network.length > 0 ? input.network : asked;
  const search = input.search.length > 0 ? input.search.filter((domain) => domain !== '.') : (values('search').at(-1) ?? '').split(/\s+/);
  const options = input.options.length > 0 ? input.options : values('options').flatMap((line) => line.split(/\s+/));
  return [
    ...servers.map((server) => `nameserver ${server}`),
    ...(search.some((domain) => domain !== '') ? [`search ${search.join(' ')}`] : []),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');
}

function isLoopback(server: string): boolean {
  return server.startsWith('127.') || server === '::1' || server.startsWith('::1%');
}
