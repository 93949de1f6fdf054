import type { CreateContainerRequest, HostConfig, PortMap } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { EndpointConfig, PortBinding } from '../../network/port.ts';

export type NetworkMode =
  | { kind: 'host' }
  | { kind: 'none' }
  | { kind: 'container'; container: string }
  | { kind: 'network'; name: string };

export function networkMode(host: HostConfig): NetworkMode {
  const mode = host.NetworkMode ?? '';
  if (mode === 'host') return { kind: 'host' };
  if (mode === 'none') return { kind: 'none' };
  if (mode.startsWith('container:')) return { kind: 'container', container: mode.slice('container:'.length) };
  return { kind: 'network', name: mode === '' || mode === 'default' ? 'bridge' : mode };
}

/** The networks that a container joins, the mode's own first. */
export function endpointConfigs(request: CreateContainerRequest): EndpointConfig[] {
  const mode = networkMode(request.HostConfig ?? {});
  if (mode.kind !== 'network' || request.NetworkDisabled) return [];
  const asked = Object.entries(request.NetworkingConfig?.EndpointsConfig ?? {}).map(
    ([name, value]) => [name === 'default' ? 'bridge' : name, value] as const,
  );
  const own = asked.find(([name]) => name === mode.name) ?? ([mode.name, null] as const);
  return [own, ...asked.filter(([name]) => name !== mode.name)].map(([name, value]) => ({
    name,
    aliases: value?.Aliases ?? [],
    ...(value?.IPAMConfig?.IPv4Address ? { ipv4: value.IPAMConfig.IPv4Address } : {}),
    ...((value?.MacAddress ?? request.MacAddress) ? { macAddress: value?.MacAddress ?? request.MacAddress ?? '' } : {}),
  }));
}

/** Published ports; host port 0 stands for any free one. InvalidArgument names the entry. */
export function portBindings(host: HostConfig, exposed: Record<string, unknown> | undefined): PortBinding[] {
  const mode = networkMode(host);
  const asked: PortMap = { ...host.PortBindings };
  if (host.PublishAllPorts) for (const port of Object.keys(exposed ?? {})) asked[port] ??= [{ HostPort: '' }];
  // With the host's own network there is nothing to forward; Docker drops them with a warning too.
  if (mode.kind !== 'network') return [];
  return Object.entries(asked).flatMap(([port, bindings]) => {
    const { number, protocol } = parsePort(port);
    return (bindings && bindings.length > 0 ? bindings : [{}]).map((binding) => ({
      hostIp: binding.HostIp ?? '',
      hostPort: parseHostPort(binding.HostPort ?? '', port),
      containerPort: number,
      protocol,
    }));
  });
}

export function parsePort(text: string): { number: number; protocol: 'tcp' | 'udp' } {
  const [, digits = '', protocol = 'tcp'] = /^(\d{1,5})(?:\/(\w+))?$/.exec(text) ?? [];
  const number = Number(digits);
  if (digits === '' || number < 1 || number > 65_535)
    throw new EngineError('InvalidArgument', 'PORT_INVALID', `invalid port specification: "${text}"`);
  if (protocol !== 'tcp' && protocol !== 'udp') {
    throw new EngineError('InvalidArgument', 'PORT_INVALID', `invalid proto: ${protocol} in "${text}"`, { hint: 'Use tcp or udp.' });
  }
  return { number, protocol };
}

function parseHostPort(text: string, port: string): number {
  if (text === '') return 0;
  const number = Number(text);
  if (/^\d{1,5}$/.test(text) && number <= 65_535) return number;
  throw new EngineError('InvalidArgument', 'PORT_INVALID', `invalid host port "${text}" for ${port}`);
}
