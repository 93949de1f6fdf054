/** `hostIp` '' or 0.0.0.0 is every address of the host. */
export type PortBinding = {
  hostIp: string;
  hostPort: number;
  containerPort: number;
  protocol: 'tcp' | 'udp';
  /** Asks `reserve` for the first free port from `hostPort` to this one; never set in what it gives back. */
  hostPortEnd?: number | undefined;
};

export type EndpointConfig = { name: string; aliases?: string[]; ipv4?: string; macAddress?: string };

/** What a container has on one network once attached. */
export type Endpoint = {
  network: string;
  networkId: string;
  endpointId: string;
  ipAddress: string;
  prefixLength: number;
  gateway: string;
  macAddress: string;
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
  subnets: { subnet: string; gateway: string }[];
  internal: boolean;
  labels: Record<string, string>;
  options: Record<string, string>;
  bridge?: string;
};

export interface Networks {
  create(options: {
    name: string;
    driver?: string;
    subnet?: string;
    gateway?: string;
    internal?: boolean;
    labels?: Record<string, string>;
    options?: Record<string, string>;
  }): Promise<NetworkInfo>;
  get(nameOrId: string): Promise<NetworkInfo>;
  list(): Promise<NetworkInfo[]>;
  remove(nameOrId: string): Promise<void>;
  /** Reserves host ports; Conflict `PORT_IN_USE` names the port and, where known, its holder. Host port 0 picks one. */
  reserve(bindings: readonly PortBinding[]): Promise<PortReservation>;
  /**
   * Makes a network namespace at `<run>/netns/<id>`, sets every network up in it; loopback is up. Undone whole when it fails. `none` is a
   * namespace with loopback only; `host` makes no namespace, `netns` is then ''. Both stand alone. `ports` are what `reserve` gave.
   */
  attach(
    containerId: string,
    endpoints: readonly EndpointConfig[],
    ports: readonly PortBinding[],
    names: { containerName: string; hostname: string },
  ): Promise<{ netns: string; endpoints: Endpoint[] }>;
  /** Idempotent; safe when half of it is gone. */
  detach(containerId: string): Promise<void>;
  /** Namespaces that exist, for adoption and cleaning. */
  attached(): Promise<string[]>;
  endpoints(containerId: string): Promise<Endpoint[]>;
}
