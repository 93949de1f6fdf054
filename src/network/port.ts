/** `hostIp` '' is every address of the host, IPv4 and IPv6; `0.0.0.0` and `::` are every one of that family. */
export type PortBinding = {
  hostIp: string;
  hostPort: number;
  containerPort: number;
  protocol: 'tcp' | 'udp';
  /** Asks `reserve` for the first free port from `hostPort` to this one; never set in what it gives back. */
  hostPortEnd?: number | undefined;
};

export type EndpointConfig = {
  name: string;
  aliases?: string[];
  ipv4?: string;
  ipv6?: string;
  macAddress?: string;
  driverOptions?: Record<string, string>;
  /** `NAME:ALIAS` of other containers, as this one calls them; the runtime's to carry out. */
  links?: string[];
  /** The network with the highest one gives the default route; the first of equals. */
  gatewayPriority?: number;
};

/** What a container has on one network once attached. */
export type Endpoint = {
  network: string;
  networkId: string;
  endpointId: string;
  ipAddress: string;
  prefixLength: number;
  gateway: string;
  /** '' where the network has no IPv6. */
  ipv6Address: string;
  ipv6PrefixLength: number;
  ipv6Gateway: string;
  macAddress: string;
  /** Name of the interface in the container. */
  interface: string;
  aliases: string[];
  dnsServers: string[];
};

/** Sockets that keep the host ports for a container; fds are handed to its monitor so that they live as long as it does. */
export interface PortReservation extends AsyncDisposable {
  readonly bindings: readonly PortBinding[]; // ephemeral ports filled in
  readonly fds: readonly number[];
  /** Closes the engine's own copies (the monitor has its own). */
  release(): void;
}

export type NetworkInfo = {
  id: string;
  name: string;
  driver: string;
  createdAtMs: number;
  /**
   * IPv4 first; at most one of each family. `range` limits what is given out by itself; `aux` are addresses by name that it leaves alone.
   * `gateway` is '' where a network has none. None where something else than the engine gives the addresses out (CNI).
   */
  subnets: { subnet: string; gateway: string; range?: string; aux?: Record<string, string> }[];
  ipv6: boolean;
  internal: boolean;
  labels: Record<string, string>;
  options: Record<string, string>;
  bridge?: string;
};

/** Whom an endpoint belongs to: `dnsServers` answer names that are not of its networks, instead of the host's. */
export type EndpointOwner = { containerName: string; hostname: string; dnsServers?: readonly string[] };

export interface Networks {
  create(options: {
    name: string;
    driver?: string;
    /** Of either family. One that is left out is picked from the pools. */
    subnets?: { subnet?: string; gateway?: string; range?: string; aux?: Record<string, string> }[];
    ipv6?: boolean;
    internal?: boolean;
    labels?: Record<string, string>;
    options?: Record<string, string>;
  }): Promise<NetworkInfo>;
  get(nameOrId: string): Promise<NetworkInfo>;
  list(): Promise<NetworkInfo[]>;
  remove(nameOrId: string): Promise<void>;
  /**
   * Makes the container's network namespace alone and answers its path, so that the container can be made while `attach` fills it. `attach` makes
   * it when nobody did.
   */
  openNamespace(containerId: string): Promise<string>;
  /** Adds one more network to a container that is attached. Undone whole when it fails. */
  connect(containerId: string, endpoint: EndpointConfig, names: EndpointOwner): Promise<Endpoint>;
  /** Idempotent. */
  disconnect(containerId: string, network: string): Promise<void>;
  /** A container that is attached is known by this name from here on, to its neighbours too. Nothing where it is not. */
  rename(containerId: string, containerName: string): Promise<void>;
  /** Puts bridges, rules and forwarding back for all that is attached: after a firewall reload, a reboot, a daemon's start. */
  reload(): Promise<void>;
  /**
   * Reserves host ports; Conflict `PORT_IN_USE` names the port and, where known, its holder. Host port 0 picks one. Every address of the host
   * ('') becomes `0.0.0.0` and, where the host has IPv6, `::` with the same port; or what the first of the container's networks says.
   */
  reserve(bindings: readonly PortBinding[], endpoints?: readonly EndpointConfig[]): Promise<PortReservation>;
  /**
   * Makes a network namespace at `<run>/netns/<id>`, sets every network up in it; loopback is up. Undone whole when it fails. `none` is a
   * namespace with loopback only; `host` makes no namespace, `netns` is then ''. Both stand alone. `ports` are what `reserve` gave.
   */
  attach(
    containerId: string,
    endpoints: readonly EndpointConfig[],
    ports: readonly PortBinding[],
    names: EndpointOwner,
  ): Promise<{ netns: string; endpoints: Endpoint[] }>;
  /** Idempotent; safe when half of it is gone. */
  detach(containerId: string): Promise<void>;
  /** Namespaces that exist, for adoption and cleaning. */
  attached(): Promise<string[]>;
  endpoints(containerId: string): Promise<Endpoint[]>;
}

/** What went between a network namespace and one address, in bytes of IP packets. `host` is the name that led there; both are '' for all else. */
export type Traffic = { host: string; address: string; bytesIn: number; bytesOut: number };

export type WatchOptions = {
  /** Names (`registry.npmjs.org`, `*.debian.org`) and addresses that may be reached, and no others; all when not given. */
  allowed?: readonly string[] | undefined;
  /** Names with addresses that no name server is asked for: lines of /etc/hosts. */
  known?: readonly { readonly name: string; readonly address: string }[] | undefined;
  ipv6: boolean;
};

/** A network namespace that is watched. Its rules go with the namespace. */
export interface NetworkWatch {
  /** Where names are to be asked for inside. */
  readonly dnsServer: string;
  /** Names that were asked for and are not allowed, each once. */
  readonly refused: readonly string[];
  traffic(): Promise<Traffic[]>;
  /** Ends the answering of names. */
  close(): Promise<void>;
}

/** Holds network namespaces to names, and counts what they send. */
export interface NetworkWatches {
  /** InvalidArgument `ALLOWED_HOST_INVALID`; Unavailable where the host's packet filter cannot do it. */
  open(netns: string, options: WatchOptions): Promise<NetworkWatch>;
}
