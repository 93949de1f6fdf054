import type { NetworkContainer, NetworkResource } from '../../api-types/network.ts';
import type { VolumeResource } from '../../api-types/volume.ts';
import type { NetworkInfo } from '../../network/port.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import type { Volume } from '../../volumes/port.ts';
import { isoTime } from './time.ts';

export function encodeNetwork(network: NetworkInfo, containers: readonly ContainerRecord[] = []): NetworkResource {
  return {
    Name: network.name,
    Id: network.id,
    Created: isoTime(network.createdAtMs),
    Scope: 'local',
    Driver: network.driver,
    EnableIPv4: true,
    EnableIPv6: network.subnets.some(({ subnet }) => subnet.includes(':')),
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: network.subnets.map(({ subnet, gateway }) => ({ Subnet: subnet, Gateway: gateway })),
    },
    Internal: network.internal,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: Object.fromEntries(containers.flatMap((container) => attachedTo(network, container))),
    Options: network.options,
    Labels: network.labels,
  };
}

function attachedTo(network: NetworkInfo, container: ContainerRecord): [string, NetworkContainer][] {
  if (container.state.status !== 'running') return [];
  return container.endpoints
    .filter((endpoint) => endpoint.networkId === network.id)
    .map((endpoint) => [
      container.id,
      {
        Name: container.name,
        EndpointID: endpoint.endpointId,
        MacAddress: endpoint.macAddress,
        IPv4Address: endpoint.ipAddress === '' ? '' : `${endpoint.ipAddress}/${endpoint.prefixLength}`,
        IPv6Address: '',
      },
    ]);
}

export function encodeVolume(volume: Volume, usage?: { Size: number; RefCount: number }): VolumeResource {
  return {
    Name: volume.name,
    Driver: volume.driver,
    Mountpoint: volume.mountpoint,
    CreatedAt: isoTime(volume.createdAtMs),
    // Docker marks volumes without a name of their own by this label (API 1.42).
    Labels: volume.anonymous ? { ...volume.labels, 'com.docker.volume.anonymous': '' } : volume.labels,
    Options: Object.keys(volume.options).length > 0 ? volume.options : null,
    Scope: 'local',
    ...(usage === undefined ? {} : { UsageData: usage }),
  };
}
