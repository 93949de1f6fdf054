import type { EndpointRequest } from '../../api-types/container.ts';
import { type Check, integer, list, object, record, string } from '../decode.ts';

/**
 * EndpointSettings of the Docker Engine API, as clients send it. What the daemon tells in the same structure (addresses, ids) is what many send
 * back, and means nothing in a request.
 */
export const endpointFields = {
  Aliases: list(string),
  Links: list(string),
  IPAMConfig: object({ IPv4Address: string, IPv6Address: string, LinkLocalIPs: list(string) }),
  MacAddress: string,
  DriverOpts: record(string),
  GwPriority: integer,
};

export const endpoint: Check<EndpointRequest> = object(endpointFields);
