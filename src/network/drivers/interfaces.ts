import { EngineError, isErrno } from '../../base/errors.ts';
import { inNetns } from '../../kernel/namespace.ts';
import type { NetlinkMessage } from '../../kernel/netlink.ts';
import type { AttachedEndpoint } from '../attachments.ts';
import { parseIp, subnetOf } from '../ip.ts';
import { isInterfaceName } from '../names.ts';
import { addAddress } from '../netlink/messages.ts';
import { readSysctl, writeSysctl } from '../sysctl.ts';
import { setIpv6Sysctls } from './bridge-settings.ts';

const interfaceNameOption = 'com.docker.network.endpoint.ifname';
const sysctlsOption = 'com.docker.network.endpoint.sysctls';

/** The endpoint's addresses, for the interface with that number. */
export function addressMessages(index: number, endpoint: AttachedEndpoint): NetlinkMessage[] {
  const { ipAddress, prefixLength, ipv6Address, ipv6PrefixLength } = endpoint;
  return (
    [
      [ipAddress, prefixLength],
      [ipv6Address, ipv6PrefixLength],
    ] as const
  ).flatMap(([text, length]) => {
    const address = parseIp(text);
    return address === undefined ? [] : [addAddress(index, address, subnetOf(address, length))];
  });
}

const defaultDisableIpv6 = 'ipv6/conf/default/disable_ipv6';

/**
 * Makes an endpoint's interface in a namespace so that it is born with IPv6 or without it, as the endpoint is. A new interface takes over the
 * namespace's default; to write its own setting later waits for the kernel's network lock, on this thread: 14 ms beside 100 others.
 */
export async function makeInterface(
  netns: string,
  { interface: name, ipv6Address }: AttachedEndpoint,
  make: () => Promise<void>,
): Promise<void> {
  const disabled = ipv6Address === '' ? '1' : '0';
  if (disabled === '1') inNetns(netns, () => writeSysctl(defaultDisableIpv6, '1'));
  try {
    await make();
  } finally {
    if (disabled === '1') inNetns(netns, () => writeSysctl(defaultDisableIpv6, '0'));
  }
  inNetns(netns, () => {
    const own = `ipv6/conf/${name}/disable_ipv6`;
    // Another network's interface may have been made at the same time.
    if (readSysctl(own) !== disabled) writeSysctl(own, disabled);
    if (disabled === '0') setIpv6Sysctls(name);
  });
}

/** The interface name that an endpoint asks for. InvalidArgument; Unsupported `ENDPOINT_OPTION_UNSUPPORTED` for options that would change nothing. */
export function checkEndpointOptions(options: Readonly<Record<string, string>>): string | undefined {
  for (const [key, value] of Object.entries(options)) {
    if (key === interfaceNameOption) {
      if (isInterfaceName(value) && value !== 'lo') continue;
      throw new EngineError(
        'InvalidArgument',
        'INTERFACE_NAME_INVALID',
        `invalid interface name ${JSON.stringify(value.slice(0, 60))} in ${key}`,
      );
    }
    if (key !== sysctlsOption) {
      const message = `endpoints have no option ${JSON.stringify(key.slice(0, 100))}`;
      throw new EngineError('Unsupported', 'ENDPOINT_OPTION_UNSUPPORTED', message, {
        hint: `They have ${interfaceNameOption} and ${sysctlsOption}.`,
      });
    }
    parseSysctls(value);
  }
  return options[interfaceNameOption];
}

/** `net.ipv4.conf.IFNAME.log_martians=1,…`: IFNAME stands for the interface. Only settings of that one interface. */
function parseSysctls(text: string): { path: string; value: string }[] {
  return text.split(',').map((entry) => {
    const match = /^net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.IFNAME\.([a-z0-9_]+)=([^=,]{1,100})$/.exec(entry.trim());
    if (match === null) {
      const message = `invalid sysctl ${JSON.stringify(entry.slice(0, 100))} in ${sysctlsOption}: expected net.ipv4.conf.IFNAME.NAME=VALUE`;
      throw new EngineError('InvalidArgument', 'ENDPOINT_SYSCTL_INVALID', message);
    }
    return { path: `${match[1]}/${match[2]}/IFNAME/${match[3]}`, value: match[4] ?? '' };
  });
}

export function applyEndpointSysctls(netns: string, endpoint: AttachedEndpoint): void {
  const text = endpoint.driverOptions?.[sysctlsOption];
  if (text !== undefined) inNetns(netns, () => writeEndpointSysctls(text, endpoint));
}

function writeEndpointSysctls(text: string, endpoint: AttachedEndpoint): void {
  for (const { path, value } of parseSysctls(text)) {
    let written = false;
    try {
      written = writeSysctl(path.replace('IFNAME', endpoint.interface), value);
    } catch (error) {
      if (!isErrno(error, 'EINVAL', 'EPERM', 'EACCES')) throw error;
    }
    if (!written) {
      const message = `cannot set ${path.replaceAll('/', '.')}=${value} for ${endpoint.interface} on network ${endpoint.network}`;
      throw new EngineError('InvalidArgument', 'ENDPOINT_SYSCTL_INVALID', message);
    }
  }
}
