import type { EndpointRequest } from './container.ts';

export type NetworkContainer = { Name: string; EndpointID: string; MacAddress: string; IPv4Address: string; IPv6Address: string };

/** A row of GET /networks and GET /networks/{id}; `Containers` is empty in listings. */
export type NetworkResource = {
  Name: string;
  Id: string;
  Created: string;
  Scope: 'local';
  Driver: string;
  /** Since 1.48. */
  EnableIPv4?: boolean;
  EnableIPv6: boolean;
  IPAM: { Driver: string; Options: Record<string, string> | null; Config: { Subnet: string; Gateway?: string; IPRange?: string }[] };
  Internal: boolean;
  Attachable: boolean;
  Ingress: boolean;
  ConfigFrom: { Network: string };
  ConfigOnly: boolean;
  Containers: Record<string, NetworkContainer>;
  Options: Record<string, string>;
  Labels: Record<string, string>;
  /** With `verbose`: those of a swarm. */
  Services?: Record<string, never>;
};

/** Body of POST /networks/create. */
export type NetworkCreateRequest = {
  Name: string;
  CheckDuplicate?: boolean;
  Driver?: string;
  Scope?: string;
  ConfigOnly?: boolean;
  ConfigFrom?: { Network?: string } | null;
  Internal?: boolean;
  Attachable?: boolean;
  Ingress?: boolean;
  EnableIPv4?: boolean | null;
  EnableIPv6?: boolean | null;
  IPAM?: {
    Driver?: string;
    Options?: Record<string, string> | null;
    Config?: { Subnet?: string; Gateway?: string; IPRange?: string; AuxiliaryAddresses?: Record<string, string> | null }[] | null;
  } | null;
  Options?: Record<string, string> | null;
  Labels?: Record<string, string> | null;
};

export type NetworkCreateResponse = { Id: string; Warning: string };

/** Body of POST /networks/{id}/connect and, with `Force`, of /disconnect. */
export type NetworkConnectRequest = { Container: string; EndpointConfig?: EndpointRequest | null };
export type NetworkDisconnectRequest = { Container: string; Force?: boolean };
