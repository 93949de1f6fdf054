import { mkdir } from 'node:fs/promises';
import { EngineError } from '../base/errors.ts';
import { runCommand } from './command.ts';
import type { Bridge } from './definitions.ts';

export type NetavarkOptions = {
  netavarkPath: string;
  /** Undefined: networks have no DNS. */
  aardvarkPath: string | undefined;
  /** Where netavark and aardvark-dns keep their files; on the run directory, as they describe what lives in the kernel. */
  configDirectory: string;
  rootId: string;
};

/** One interface of a container, as netavark is to make it. */
type NetavarkInterface = {
  bridge: Bridge;
  interfaceName: string;
  ipAddress: string;
  macAddress: string;
  aliases: readonly string[];
  mtu: number | undefined;
  dns: boolean;
};

export type NetavarkRequest = { containerId: string; containerName: string; interfaces: readonly NetavarkInterface[] };

/**
 * The netavark program: bridges, veth pairs, addresses, routes, masquerading, and DNS through aardvark-dns. Published ports are not its
 * business (docs/adr/0060). Both calls take a network namespace's path.
 */
export class Netavark {
  private readonly options: NetavarkOptions;

  constructor(options: NetavarkOptions) {
    this.options = options;
  }

  get hasDns(): boolean {
    return this.options.aardvarkPath !== undefined;
  }

  /** Unavailable `NETAVARK_FAILED` with netavark's own words. What it made before failing, it has mostly removed: call `teardown`. */
  async setup(netns: string, request: NetavarkRequest): Promise<void> {
    await mkdir(this.options.configDirectory, { recursive: true, mode: 0o700 });
    await this.run('setup', netns, request);
  }

  /** Removes as much as there is; the error names the first thing that was not there. */
  async teardown(netns: string, request: NetavarkRequest): Promise<void> {
    await this.run('teardown', netns, request);
  }

  private async run(verb: 'setup' | 'teardown', netns: string, request: NetavarkRequest): Promise<void> {
    const { netavarkPath, aardvarkPath, configDirectory } = this.options;
    const args = ['--config', configDirectory, ...(aardvarkPath === undefined ? [] : ['--aardvark-binary', aardvarkPath]), verb, netns];
    const result = await runCommand(netavarkPath, args, {
      input: JSON.stringify(this.encode(request)),
      env: { NETAVARK_FW: 'iptables' },
      debianPackage: 'netavark aardvark-dns iptables',
    });
    if (result.exitCode === 0) return;
    const message = `netavark ${verb} failed for container ${request.containerId.slice(0, 12)}: ${reasonOf(result.stdout, result.stderr)}`;
    throw new EngineError('Unavailable', 'NETAVARK_FAILED', message, { hint: '"slipway doctor" checks what networks need on this host.' });
  }

  /** The JSON of netavark's types: `NetworkOptions` with `PerNetworkOptions` and `Network`. */
  private encode({ containerId, containerName, interfaces }: NetavarkRequest): unknown {
    const named = interfaces.map((each) => ({ ...each, name: this.nameOf(each.bridge) }));
    return {
      container_id: containerId,
      container_name: containerName,
      port_mappings: null,
      networks: Object.fromEntries(
        named.map(({ name, interfaceName, ipAddress, macAddress, aliases }) => [
          name,
          { interface_name: interfaceName, static_ips: [ipAddress], static_mac: macAddress, aliases },
        ]),
      ),
      network_info: Object.fromEntries(named.map(({ name, ...each }, index) => [name, encodeNetwork(name, each, index)])),
    };
  }

  /** Chains and DNS zones are named by it, host-wide: so it names the engine's root too. */
  private nameOf(bridge: Bridge): string {
    return `slipway-${this.options.rootId}-${bridge.definition.id.slice(0, 12)}`;
  }
}

function encodeNetwork(name: string, { bridge, mtu, dns }: NetavarkInterface, index: number): unknown {
  return {
    name,
    id: bridge.definition.id,
    driver: 'bridge',
    network_interface: bridge.name,
    subnets: [{ subnet: bridge.definition.subnets[0]?.subnet, gateway: bridge.gateway }],
    ipv6_enabled: false,
    internal: bridge.definition.internal,
    dns_enabled: dns,
    ipam_options: { driver: 'host-local' },
    // The first network's default route wins; without distinct metrics a second one would be refused as a duplicate.
    options: { metric: String(100 + index), ...(mtu === undefined ? {} : { mtu: String(mtu) }) },
  };
}

function reasonOf(stdout: string, stderr: string): string {
  try {
    const { error } = JSON.parse(stdout) as { error?: unknown };
    if (typeof error === 'string') return error;
  } catch {
    // Not its error object: a crash, told on stderr.
  }
  return (stderr.trim() || stdout.trim() || 'it said nothing').slice(0, 1000);
}
