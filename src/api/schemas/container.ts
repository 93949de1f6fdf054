import type { CreateContainerRequest } from '../../api-types/container.ts';
import type { ExecCreateRequest, ExecStartRequest } from '../../api-types/container-inspect.ts';
import {
  boolean,
  type Check,
  emptyObject,
  integer,
  isPlainObject,
  list,
  nullable,
  object,
  record,
  string,
  stringOrList,
  unknownFields,
} from '../decode.ts';
import { invalid } from '../errors.ts';
import { endpoint } from './endpoint.ts';
import { hostConfig, hostConfigFields } from './host-config.ts';

/** Bodies of the container and exec routes (Docker Engine API, ContainerConfig, NetworkingConfig). */

const healthcheck = object({
  Test: list(string),
  Interval: integer,
  Timeout: integer,
  StartPeriod: integer,
  StartInterval: integer,
  Retries: integer,
});

const containerConfig = {
  Hostname: string,
  Domainname: string,
  User: string,
  AttachStdin: boolean,
  AttachStdout: boolean,
  AttachStderr: boolean,
  ExposedPorts: record(emptyObject),
  Tty: boolean,
  OpenStdin: boolean,
  StdinOnce: boolean,
  Env: list(string),
  Cmd: stringOrList,
  Healthcheck: healthcheck,
  ArgsEscaped: boolean,
  Image: string,
  Volumes: record(emptyObject),
  WorkingDir: string,
  Entrypoint: stringOrList,
  NetworkDisabled: boolean,
  MacAddress: string,
  OnBuild: list(string),
  Labels: record(string),
  StopSignal: string,
  StopTimeout: integer,
  Shell: list(string),
};

const createShape = {
  ...containerConfig,
  HostConfig: hostConfig,
  NetworkingConfig: object({ EndpointsConfig: record(nullable(endpoint)) }),
};
const createFields = object(createShape);

export const createContainer: Check<CreateContainerRequest> = (value, field) => {
  const request = createFields(value, field);
  const memory = request.HostConfig?.Memory ?? 0;
  if (memory < 0) throw invalid('FIELD_INVALID', `HostConfig.Memory is ${memory}; expected bytes, or 0 for no limit`);
  return request;
};

/** Warnings for fields that nobody knows, and that would else be ignored in silence. */
export function ignoredFields(body: unknown): string[] {
  if (!isPlainObject(body)) return [];
  const host = Object.entries(body).find(([key]) => key.toLowerCase() === 'hostconfig')?.[1];
  return [
    ...unknownFields(body, createShape).map((name) => `${name} is not a known field and has no effect`),
    ...unknownFields(host, hostConfigFields).map((name) => `HostConfig.${name} is not a known field and has no effect`),
  ];
}

export const execCreate: Check<ExecCreateRequest> = object({
  AttachStdin: boolean,
  AttachStdout: boolean,
  AttachStderr: boolean,
  DetachKeys: string,
  Tty: boolean,
  Env: list(string),
  Cmd: list(string),
  Privileged: boolean,
  User: string,
  WorkingDir: string,
  ConsoleSize: list(integer),
});

export const execStart: Check<ExecStartRequest> = object({ Detach: boolean, Tty: boolean, ConsoleSize: list(integer) });
