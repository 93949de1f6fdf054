import { closeSync, openSync } from 'node:fs';
import { EngineError, isErrno } from '../../base/errors.ts';
import { NetlinkSocket } from '../../kernel/netlink.ts';
import type { AttachedEndpoint } from '../attachments.ts';
import type { Definition } from '../definitions.ts';
import {
  addIpvlan,
  addMacvlan,
  deleteLink,
  type IpvlanMode,
  ipvlanModeNames,
  type LinkOptions,
  type MacvlanMode,
  macvlanModeNames,
  setLink,
} from '../netlink/messages.ts';
import { linkExists } from '../sysctl.ts';
import { addressMessages, applyEndpointSysctls, makeInterface } from './interfaces.ts';
import type { DefinitionRequest, DriverPart, Join, NetworkDriver } from './port.ts';

type Kind = 'macvlan' | 'ipvlan';

/**
 * Containers on the host's own wire: each interface sits on the host's (`-o parent=eth0`), with an address of that wire's subnet. The host's rules
 * do not see their packets: ports are neither published nor needed to be.
 */
export class WireDriver implements NetworkDriver {
  readonly addressing = 'engine';
  readonly endsWithNamespace = false;
  readonly publishing = 'none';
  private readonly kind: Kind;

  constructor(kind: Kind) {
    this.kind = kind;
  }

  async define({ name, options }: DefinitionRequest): Promise<DriverPart> {
    const modeOption = `${this.kind}_mode`;
    for (const key of Object.keys(options)) {
      if (key === 'parent' || key === modeOption) continue;
      const message = `the ${this.kind} driver has no option ${JSON.stringify(key.slice(0, 100))}`;
      throw new EngineError('Unsupported', 'NETWORK_OPTION_UNSUPPORTED', message, { hint: `It has parent and ${modeOption}.` });
    }
    const modes: readonly string[] = this.kind === 'macvlan' ? macvlanModeNames : ipvlanModeNames;
    const mode = options[modeOption];
    if (mode !== undefined && !modes.includes(mode)) {
      const message = `invalid ${modeOption} ${JSON.stringify(mode.slice(0, 60))}: it is one of ${modes.join(', ')}`;
      throw new EngineError('InvalidArgument', 'NETWORK_OPTION_INVALID', message);
    }
    parentOf({ name, options });
    return {};
  }

  async ensure(network: Definition): Promise<Definition> {
    parentOf(network);
    return network;
  }

  async join(netns: string, { network, endpoint }: Join): Promise<AttachedEndpoint> {
    const target = openSync(netns, 'r');
    try {
      using host = new NetlinkSocket('route');
      const link: LinkOptions = { name: endpoint.interface, parent: host.indexOf(parentOf(network)), netns: target };
      await makeInterface(netns, endpoint, () => host.request([this.addition(network, link, endpoint.macAddress)]));
    } catch (error) {
      if (!isErrno(error, 'EOPNOTSUPP')) throw error;
      throw new EngineError('Unsupported', 'LINK_KIND_UNSUPPORTED', `this host's kernel has no ${this.kind} interfaces`, { cause: error });
    } finally {
      closeSync(target);
    }
    applyEndpointSysctls(netns, endpoint);
    using inside = new NetlinkSocket('route', netns);
    await inside.request([...addressMessages(inside.indexOf(endpoint.interface), endpoint), setLink(endpoint.interface, { up: true })]);
    // Interfaces of ipvlan share their parent's hardware address.
    return this.kind === 'macvlan' ? endpoint : { ...endpoint, macAddress: '' };
  }

  private addition({ options }: Definition, link: LinkOptions, macAddress: string) {
    if (this.kind === 'macvlan') return addMacvlan({ ...link, macAddress }, (options.macvlan_mode as MacvlanMode | undefined) ?? 'bridge');
    return addIpvlan(link, (options.ipvlan_mode as IpvlanMode | undefined) ?? 'l2');
  }

  /** By name: the parent keeps the hardware address taken until the kernel has ended the namespace, in its own time. */
  async leave(netns: string | undefined, { endpoint }: Join): Promise<void> {
    if (netns === undefined) return;
    using inside = new NetlinkSocket('route', netns);
    try {
      await inside.request([deleteLink(endpoint.interface)]);
    } catch (error) {
      if (!isErrno(error, 'ENODEV')) throw error;
    }
  }

  async restore(netns: string, join: Join): Promise<AttachedEndpoint | undefined> {
    using inside = new NetlinkSocket('route', netns);
    try {
      inside.indexOf(join.endpoint.interface);
      return undefined;
    } catch (error) {
      if (!isErrno(error, 'ENODEV')) throw error;
      return this.join(netns, join);
    }
  }

  async retire(): Promise<void> {}
}

function parentOf({ name, options }: { name: string; options: Readonly<Record<string, string>> }): string {
  const { parent = '' } = options;
  if (parent !== '' && !parent.includes('/') && linkExists(parent)) return parent;
  const what =
    parent === ''
      ? 'names no interface of this host'
      : `names the interface ${JSON.stringify(parent.slice(0, 60))}, which this host does not have`;
  throw new EngineError('InvalidArgument', 'PARENT_INVALID', `network ${name} ${what} for its containers to sit on`, {
    hint: 'Give it with -o parent=eth0.',
  });
}
