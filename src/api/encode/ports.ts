import type { NetworkSettings, Port } from '../../api-types/container-inspect.ts';
import type { PortBinding } from '../../network/port.ts';
import type { ContainerRecord } from '../../runtime/port.ts';

/** NetworkSettings.Ports of an inspection: `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": null}`. */
export function portMap(record: ContainerRecord): NetworkSettings['Ports'] {
  const ports: NetworkSettings['Ports'] = {};
  for (const { number, type } of exposedPorts(record)) ports[`${number}/${type}`] = null;
  for (const binding of record.ports) {
    const key = `${binding.containerPort}/${binding.protocol}`;
    const rows = hostAddresses(binding, record).map((HostIp) => ({ HostIp, HostPort: String(binding.hostPort) }));
    ports[key] = [...(ports[key] ?? []), ...rows];
  }
  return ports;
}

/** Ports of a listing's row. A container that does not run has none. */
export function listPorts(record: ContainerRecord): Port[] {
  if (record.state.status !== 'running') return [];
  const bound = record.ports.flatMap((binding) =>
    hostAddresses(binding, record).map(
      (IP): Port => ({ IP, PrivatePort: binding.containerPort, PublicPort: binding.hostPort, Type: binding.protocol }),
    ),
  );
  const unbound = exposedPorts(record).flatMap(({ number, type }): Port[] =>
    bound.some((port) => port.PrivatePort === number && port.Type === type) ? [] : [{ PrivatePort: number, Type: type }],
  );
  return [...bound, ...unbound];
}

function exposedPorts(record: ContainerRecord): { number: number; type: Port['Type'] }[] {
  return Object.keys(record.config.ExposedPorts ?? {}).flatMap((text) => {
    const [digits = '', type = 'tcp'] = text.split('/');
    const number = Number(digits);
    if (!Number.isInteger(number) || number < 1 || number > 65_535) return [];
    return [{ number, type: type === 'udp' ? 'udp' : 'tcp' }];
  });
}

/** Every address of the host shows as both of its families; IPv6 leads only to a container that has it. */
function hostAddresses({ hostIp }: PortBinding, record: ContainerRecord): string[] {
  if (hostIp !== '') return [hostIp];
  return record.endpoints.some(({ ipv6Address }) => ipv6Address) ? ['0.0.0.0', '::'] : ['0.0.0.0'];
}
