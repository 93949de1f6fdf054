import type { NetworkContainer, NetworkResource } from '../../api-types/network.ts';
import type { Endpoint, NetworkInfo } from '../../network/port.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import { isoTime } from './time.ts';

type Options = {
  /** Those of the whole engine; the network's own are found among them. */
  containers?: readonly ContainerRecord[];
  verbose?: boolean;
  /** Whether the client speaks a version or a newer one. */
  speaks: (version: string) => boolean;
};

export function encodeNetwork(network: NetworkInfo, { containers = [], verbose = false, speaks }: Options): NetworkResource {
  return {
    Name: network.name,
    Id: network.id,
    Created: isoTime(network.createdAtMs),
    Scope: 'local',
    Driver: network.driver,
    ...(speaks('1.48') ? { EnableIPv4: true } : {}),
    EnableIPv6: network.ipv6,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: network.subnets.map(({ subnet, gateway, range, aux }) => ({
        Subnet: subnet,
        ...(range === undefined ? {} : { IPRange: range }),
        ...(gateway === '' ? {} : { Gateway: gateway }),
        ...(aux === undefined ? {} : { AuxiliaryAddresses: aux }),
      })),
    },
    Internal: network.internal,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(
      containers.flatMap((container) =>
        attachedTo(network, container).map((endpoint) => [container.id, networkContainer(container, endpoint)]),
      ),
    ),
    Options: network.options,
    Labels: network.labels,
    // A swarm's services, of which there are none.
    ...(verbose ? { Services: {} } : {}),
  };
}

/** What a running container has on the network. One that shares another's network, or does not run, has nothing there. */
export function attachedTo(network: NetworkInfo, { state, endpoints }: ContainerRecord): Endpoint[] {
  return state.status === 'running' ? endpoints.filter(({ networkId }) => networkId === network.id) : [];
}

function networkContainer({ name }: ContainerRecord, endpoint: Endpoint): NetworkContainer {
  const withPrefix = (address: string, length: number) => (address ? `${address}/${length}` : '');
  return {
    Name: name,
    EndpointID: endpoint.endpointId,
    MacAddress: endpoint.macAddress,
    IPv4Address: withPrefix(endpoint.ipAddress, endpoint.prefixLength),
    IPv6Address: withPrefix(endpoint.ipv6Address, endpoint.ipv6PrefixLength),
  };
}
