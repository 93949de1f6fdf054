import type { AttachedEndpoint } from '../attachments.ts';
import type { Definition } from '../definitions.ts';
import type { PortBinding } from '../port.ts';

/** What a creation asks of a driver, with subnets picked and checked. */
export type DefinitionRequest = {
  id: string;
  name: string;
  internal: boolean;
  ipv6: boolean;
  options: Record<string, string>;
};

/** The parts of a definition that are its driver's. */
export type DriverPart = Pick<Definition, 'bridge' | 'cni'>;

/** One endpoint of one container. */
export type Join = {
  containerId: string;
  containerName: string;
  network: Definition;
  endpoint: AttachedEndpoint;
  /** Published ports, given to one endpoint of a container only. */
  ports: readonly PortBinding[];
};

/**
 * A kind of network: how a container's namespace gets an interface on it. Addresses, names, published ports, default routes and records are
 * not its business, unless it says so.
 */
export interface NetworkDriver {
  /** Addresses: from the network's subnets, or what `join` answers. */
  readonly addressing: 'engine' | 'driver';
  /** Published ports: by the engine's rules, by the driver's own means, or not at all (containers are on the wire themselves). */
  readonly publishing: 'engine' | 'driver' | 'none';
  /** Interfaces may go with their container's namespace: `leave` is called behind its end. Else before, with the namespace. */
  readonly endsWithNamespace: boolean;
  /** Checks options and answers the driver's part. InvalidArgument, Conflict, Unsupported. Makes nothing. */
  define(request: DefinitionRequest): Promise<DriverPart>;
  /** Makes what the network has on the host before a container joins. Cheap when it is there. Answers the network, which may have another subnet. */
  ensure(network: Definition): Promise<Definition>;
  /**
   * Makes the interface `endpoint.interface` in the namespace, up, with its addresses and without a default route. Answers the endpoint as it
   * is then. Not undone when it fails: `leave` follows.
   */
  join(netns: string, join: Join): Promise<AttachedEndpoint>;
  /** Takes the interface away. Safe when half or all of it is gone; `netns` is undefined when the namespace is. */
  leave(netns: string | undefined, join: Join): Promise<void>;
  /** Puts back what an administrator or another program took from an endpoint that should be there. Answers the endpoint when it was made anew. */
  restore(netns: string, join: Join): Promise<AttachedEndpoint | undefined>;
  /** Takes the network off the host. No container is on it. */
  retire(network: Definition): Promise<void>;
}
