import type { PortMap } from '../../api-types/container.ts';
import { usageError } from '../flags.ts';

export type PublishedPorts = { exposed: Record<string, Record<string, never>>; bindings: PortMap };

/**
 * Docker's `-p`: `[[IP:]HOST[-HOST]:]PORT[-PORT][/tcp|udp|sctp]` with IPv6 in brackets, or `target=80,published=8080,protocol=tcp`. One container port with a
 * range of host ports means "any free one of them"; two ranges must be equally long. `exposed` holds what `--expose` named too.
 */
export function parsePorts(published: readonly string[], exposed: readonly string[]): PublishedPorts {
  const ports: PublishedPorts = { exposed: {}, bindings: {} };
  for (const spec of published) addPublished(ports, spec.includes('=') ? fromLongForm(spec) : spec);
  for (const spec of exposed) {
    const { numbers, protocol } = parseContainerPort(spec, spec);
    for (let port = numbers.start; port <= numbers.end; port++) ports.exposed[`${port}/${protocol}`] = {};
  }
  return ports;
}

function addPublished(ports: PublishedPorts, spec: string): void {
  const { ip, host, container } = splitSpec(spec);
  const { numbers, protocol } = parseContainerPort(container, spec);
  const hostNumbers = host === '' ? undefined : parseRange(host, spec);
  const span = numbers.end - numbers.start;
  if (hostNumbers !== undefined && span > 0 && hostNumbers.end - hostNumbers.start !== span) {
    throw invalid(spec, `the ranges ${host} and ${container} are not equally long`);
  }
  for (let at = 0; at <= span; at++) {
    const key = `${numbers.start + at}/${protocol}`;
    const binding = { HostIp: ip, HostPort: hostPort(hostNumbers, at, span) };
    ports.exposed[key] = {};
    ports.bindings[key] = [...(ports.bindings[key] ?? []), binding];
  }
}

function hostPort(range: Range | undefined, at: number, span: number): string {
  if (range === undefined) return '';
  return span === 0 && range.end > range.start ? `${range.start}-${range.end}` : String(range.start + at);
}

function splitSpec(spec: string): { ip: string; host: string; container: string } {
  const parts = spec.split(':');
  const container = parts.pop() ?? '';
  const host = parts.pop() ?? '';
  const ip = parts.join(':');
  const bare = /^\[(.*)\]$/.exec(ip)?.[1] ?? ip;
  if (bare !== '' && process.getBuiltinModule('node:net').isIP(bare) === 0) throw invalid(spec, `${ip} is not an IP address`);
  return { ip: bare, host, container };
}

type Range = { start: number; end: number };

function parseContainerPort(text: string, spec: string): { numbers: Range; protocol: string } {
  const [port = '', protocol = 'tcp', ...more] = text.split('/');
  if (port === '') throw invalid(spec, 'it names no container port');
  if (more.length > 0 || !/^(?:tcp|udp|sctp)$/i.test(protocol)) throw invalid(spec, `the protocol must be tcp, udp or sctp`);
  return { numbers: parseRange(port, spec), protocol: protocol.toLowerCase() };
}

function parseRange(text: string, spec: string): Range {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) throw invalid(spec, `${JSON.stringify(text)} is not a port or a range of ports`);
  const start = Number(match[1]);
  const end = Number(match[2] ?? match[1]);
  if (start > 65_535 || end > 65_535) throw invalid(spec, 'ports go up to 65535');
  if (end < start) throw invalid(spec, `the range ${text} ends before it starts`);
  return { start, end };
}

function fromLongForm(spec: string): string {
  const fields: Record<string, string> = { protocol: 'tcp' };
  for (const pair of spec.split(',')) {
    const equals = pair.indexOf('=');
    if (equals <= 0) throw invalid(spec, `${JSON.stringify(pair)} is not name=value`);
    fields[pair.slice(0, equals)] = pair.slice(equals + 1);
  }
  return `${fields.published ?? ''}:${fields.target ?? ''}/${fields.protocol}`;
}

function invalid(spec: string, why: string) {
  return usageError(
    `invalid port "${spec}": ${why}`,
    'Ports look like 8080:80, 127.0.0.1:8080:80/tcp, [::1]:53:53/udp, 8000-8010:8000-8010 or 80.',
  );
}
