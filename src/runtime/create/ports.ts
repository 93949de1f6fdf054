import type { HostConfig, PortMap } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { PortBinding } from '../../network/port.ts';
import { networkMode } from './network-mode.ts';

type Protocol = 'tcp' | 'udp' | 'sctp';
type Range = { first: number; last: number };

function invalid(message: string, hint?: string): EngineError {
  return new EngineError('InvalidArgument', 'PORT_INVALID', message, { hint });
}

/** Published ports; host port 0 stands for any free one. InvalidArgument names the entry. */
export function portBindings(host: HostConfig, exposed: Record<string, unknown> | undefined): PortBinding[] {
  const asked: PortMap = { ...host.PortBindings };
  if (host.PublishAllPorts) for (const port of Object.keys(expandExposed(exposed ?? {}))) asked[port] ??= [{ HostPort: '' }];
  const bindings = Object.entries(asked).flatMap(([port, list]) => {
    const { protocol, ...inside } = parsePorts(port);
    if (protocol === 'sctp') {
      throw invalid(
        `invalid proto: sctp: port ${port} cannot be published`,
        'What the engine forwards ports with knows TCP and UDP. Use --network host.',
      );
    }
    return (list && list.length > 0 ? list : [{}]).flatMap((binding) => bindRange(binding, inside, protocol, port));
  });
  // With the host's own network there is nothing to forward; Docker drops them with a warning too.
  return networkMode(host).kind === 'network' ? bindings : [];
}

/** One container port takes any port of a host range; a range of them takes one each. */
function bindRange(
  { HostIp = '', HostPort = '' }: { HostIp?: string; HostPort?: string },
  inside: Range,
  protocol: 'tcp' | 'udp',
  port: string,
): PortBinding[] {
  const outside = HostPort === '' ? { first: 0, last: 0 } : parseRange(HostPort, 0);
  if (outside === undefined) throw invalid(`invalid port specification: ${JSON.stringify(HostPort)}`, `As the host port for ${port}.`);
  const [wide, many] = [outside.last - outside.first, inside.last - inside.first];
  if (many > 0 && outside.first !== 0 && wide !== many)
    throw invalid(`invalid ranges specified for container and host Ports: ${port} and ${HostPort}`);
  return Array.from({ length: many + 1 }, (_, index) => ({
    hostIp: HostIp,
    hostPort: outside.first === 0 ? 0 : outside.first + (many > 0 ? index : 0),
    containerPort: inside.first + index,
    protocol,
    ...(many === 0 && wide > 0 ? { hostPortEnd: outside.last } : {}),
  }));
}

/** `8000-8010/tcp` becomes one entry a port. InvalidArgument names what is no port. */
export function expandExposed(exposed: Record<string, unknown>): Record<string, Record<string, never>> {
  const ports = Object.keys(exposed).flatMap((text) => {
    const { first, last, protocol } = parsePorts(text);
    return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${protocol}`);
  });
  return Object.fromEntries(ports.map((port) => [port, {}]));
}

/** `80`, `80/udp`, `8000-8010/tcp`. */
function parsePorts(text: string): Range & { protocol: Protocol } {
  const [ports = '', protocol = 'tcp', ...rest] = text.split('/');
  const range = parseRange(ports, 1);
  if (range === undefined || rest.length > 0) throw invalid(`invalid port specification: ${JSON.stringify(text)}`);
  const name = protocol.toLowerCase();
  if (name !== 'tcp' && name !== 'udp' && name !== 'sctp')
    throw invalid(`invalid proto: ${protocol} in ${JSON.stringify(text)}`, 'Use tcp or udp.');
  return { ...range, protocol: name };
}

function parseRange(text: string, least: number): Range | undefined {
  const [, from = '', to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
  const [first, last] = [Number(from), Number(to)];
  return from === '' || first < least || last > 65_535 || first > last ? undefined : { first, last };
}
