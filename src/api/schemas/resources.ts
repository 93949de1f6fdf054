import type { GcRunRequest } from '../../api-types/gc.ts';
import type { NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest } from '../../api-types/network.ts';
import type { BootstrapRequest, RunRequest } from '../../api-types/own.ts';
import type { AuthConfig, CopyBody } from '../../api-types/registry.ts';
import type { VolumeCreateRequest } from '../../api-types/volume.ts';
import { anything, boolean, type Check, integer, isPlainObject, list, object, record, requireField, string, unsigned } from '../decode.ts';
import { invalid } from '../errors.ts';
import { createContainer } from './container.ts';
import { endpoint } from './endpoint.ts';

/** Bodies of the network and volume routes and of Slipway's own. */

export const networkFields = {
  Name: string,
  CheckDuplicate: boolean,
  Driver: string,
  Scope: string,
  Internal: boolean,
  Attachable: boolean,
  Ingress: boolean,
  ConfigOnly: boolean,
  ConfigFrom: object({ Network: string }),
  EnableIPv4: boolean,
  EnableIPv6: boolean,
  IPAM: object({
    Driver: string,
    Options: record(string),
    Config: list(object({ Subnet: string, Gateway: string, IPRange: string, AuxiliaryAddresses: record(string) })),
  }),
  Options: record(string),
  Labels: record(string),
};

export const networkCreate: Check<NetworkCreateRequest> = (value, field) => {
  const request = object(networkFields)(value, field);
  return { ...request, Name: request.Name ?? '' };
};

export const networkConnect: Check<NetworkConnectRequest> = (value, field) => {
  const request = object({ Container: string, EndpointConfig: endpoint })(value, field);
  return { ...request, Container: requireName(request.Container) };
};

export const networkDisconnect: Check<NetworkDisconnectRequest> = (value, field) => {
  const request = object({ Container: string, Force: boolean })(value, field);
  return { ...request, Container: requireName(request.Container) };
};

function requireName(container: string | undefined): string {
  if (container === undefined || container === '') throw invalid('FIELD_MISSING', 'Container is missing: which one is it about?');
  return container;
}

export const volumeCreate: Check<VolumeCreateRequest> = object({
  Name: string,
  Driver: string,
  DriverOpts: record(string),
  Labels: record(string),
  ClusterVolumeSpec: anything,
});

export const authConfig: Check<AuthConfig> = object({
  username: string,
  password: string,
  auth: string,
  email: string,
  serveraddress: string,
  identitytoken: string,
  registrytoken: string,
});

export const copyBody: Check<Partial<CopyBody>> = object({ from: string, to: string, platform: string, referrers: boolean });

const size: Check<[number, number]> = (value, field) => {
  const [rows, columns] = list(integer)(value, field);
  if (rows === undefined || columns === undefined || rows < 0 || columns < 0 || rows > 65_535 || columns > 65_535) {
    throw invalid('FIELD_INVALID', `${field} must be [rows, columns], each 0 to 65535`);
  }
  return [rows, columns];
};

const runFields = object({
  name: string,
  detach: boolean,
  rm: boolean,
  attachStdin: boolean,
  attachStdout: boolean,
  attachStderr: boolean,
  tty: boolean,
  size,
  timing: boolean,
});

export const runRequest: Check<RunRequest> = (value, field) => {
  const request = runFields(value, field);
  const create = isPlainObject(value) ? value.create : undefined;
  return { ...request, create: createContainer(requireField(create, 'create'), '') };
};

export const consoleSize = size;

export const gcRunRequest: Check<GcRunRequest> = object({ plan: string, want: unsigned });

const bootstrapFields = object({
  distribution: string,
  suite: string,
  include: list(string),
  reference: string,
  mirror: string,
  hostCertificates: boolean,
  noCache: boolean,
});

export const bootstrapRequest: Check<BootstrapRequest> = (value, field) => {
  const request = bootstrapFields(value, field);
  return {
    ...request,
    distribution: request.distribution ?? 'debian',
    suite: requireField(request.suite, 'suite'),
    reference: requireField(request.reference, 'reference'),
  };
};
