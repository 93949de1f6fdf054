import { accessSync } from 'node:fs';
import { join } from 'node:path';
import { Addresses } from './addresses.ts';
import { Attachments } from './attachments.ts';
import { type Definition, Definitions } from './definitions.ts';
import { Dns } from './dns.ts';
import { BridgeDriver } from './drivers/bridge.ts';
import type { NetworkDriver } from './drivers/port.ts';
import { EndpointPlanner } from './endpoint-planner.ts';
import { Endpoints } from './endpoints.ts';
import { Firewall } from './firewall/firewall.ts';
import { Namespaces } from './namespaces.ts';
import { PortProxies } from './ports/port-proxies.ts';
import type { Reserved } from './ports/reservation.ts';
import type { SubnetPool } from './subnet-pools.ts';
import { Subnets } from './subnets.ts';
import { Topology } from './topology.ts';

export type NetworkSettings = {
  /** The default network's subnet; picked when undefined. */
  defaultSubnet?: string | undefined;
  /** Where IPv4 subnets are picked from, instead of the built-in pools. */
  pools?: readonly SubnetPool[] | undefined;
  /** Where IPv6 subnets are picked from, instead of a unique local range of the root's. */
  ipv6Pool?: string | undefined;
  /** Of every bridge without one of its own; the default route's interface decides when undefined. */
  mtu?: number | undefined;
};

export type LocalNetworksOptions = {
  /** `<root>/networks`: definitions, durable. */
  directory: string;
  /** `<run>`: namespaces in `netns/`; in `network/` what lives no longer than the kernel. */
  runDirectory: string;
  /** The first 8 hex digits of the root's SHA-256: part of every name that the host sees. */
  rootId: string;
  /** Undefined, or not there: user-defined networks have no DNS. */
  aardvarkPath?: string | undefined;
  settings?: NetworkSettings | undefined;
  /** Kinds of networks beside bridges, by the name that a creation gives. */
  drivers?: ReadonlyMap<string, NetworkDriver> | undefined;
  /** How often the host's firewall is looked at for changes by others; 0 never. */
  watchIntervalMs?: number | undefined;
  /** Told what whoever runs the host should know; a few messages in a daemon's life. */
  log?: ((message: string) => void) | undefined;
};

export type Parts = {
  definitions: Definitions;
  attachments: Attachments;
  namespaces: Namespaces;
  subnets: Subnets;
  bridges: BridgeDriver;
  drivers: ReadonlyMap<string, NetworkDriver>;
  firewall: Firewall;
  proxies: PortProxies;
  reserved: Reserved;
  dns: Dns;
  endpoints: Endpoints;
  log: (message: string) => void;
};

/** Makes the parts of one root's networks and has them know each other. Touches nothing yet. */
export function makeParts(options: LocalNetworksOptions): Parts {
  const { rootId, runDirectory, directory, settings = {}, log = () => {} } = options;
  if (!/^[0-9a-f]{8}$/.test(rootId)) throw new TypeError(`rootId must be 8 hex digits, not ${rootId}`);
  const state = (name: string) => join(runDirectory, 'network', name);
  const definitions = new Definitions(directory);
  const attachments = new Attachments(state('attachments'));
  const namespaces = new Namespaces(join(runDirectory, 'netns'));
  const subnets = new Subnets({ definitions, rootId, pools: settings.pools, ipv6Pool: settings.ipv6Pool });
  const changed = async () => {
    await Promise.all([firewall.sync(), dns.sync()]);
  };
  const bridges: BridgeDriver = new BridgeDriver({ rootId, definitions, attachments, subnets, mtu: settings.mtu, log, changed });
  const drivers = new Map<string, NetworkDriver>([['bridge', bridges], ...(options.drivers ?? [])]);
  const aardvarkPath = findAardvark(options.aardvarkPath, log);
  const hasDns = ({ name, driver }: Definition) => aardvarkPath !== undefined && driver === 'bridge' && name !== 'bridge';
  const topology = new Topology({ definitions, attachments, hasDns, isUp: (definition) => bridges.isUp(definition) });
  const firewall: Firewall = new Firewall({ rootId, state: () => topology.firewall() });
  const reserved: Reserved = new Map();
  const proxies = new PortProxies({ reserved, wanted: () => topology.proxied(), log });
  const dns: Dns = new Dns({ aardvarkPath, directory: state('dns'), zones: () => topology.zones(), log });
  const driverOf = ({ driver }: Definition) => {
    const found = drivers.get(driver);
    if (found === undefined) throw new Error(`there is no network driver ${driver}`);
    return found;
  };
  const endpoints = new Endpoints({
    definitions,
    attachments,
    planner: new EndpointPlanner({ attachments, addresses: new Addresses(attachments), driverOf, hasDns }),
    namespaces,
    driverOf,
    topology,
    firewall,
    proxies,
    dns,
    log,
  });
  return { definitions, attachments, namespaces, subnets, bridges, drivers, firewall, proxies, reserved, dns, endpoints, log };
}

function findAardvark(path: string | undefined, log: (message: string) => void): string | undefined {
  if (path === undefined) return undefined;
  try {
    accessSync(path);
    return path;
  } catch {
    log(`${path} is not there: containers on user-defined networks do not find each other by name`);
    return undefined;
  }
}
