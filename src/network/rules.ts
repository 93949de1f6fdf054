import { EngineError } from '../base/errors.ts';
import type { NetworkInfo } from './port.ts';

/** Docker's three networks that are always there. */
export const predefined = ['bridge', 'host', 'none'] as const;
export type PredefinedName = (typeof predefined)[number];

export function isPredefined(name: string): name is PredefinedName {
  return (predefined as readonly string[]).includes(name);
}

/** The bridge driver's options that are honoured, in Docker's names. */
export const bridgeNameOption = 'com.docker.network.bridge.name';
export const mtuOption = 'com.docker.network.driver.mtu';

/** Options of Docker's bridge driver with the one value that is how this engine always works. */
const fixedOptions: Readonly<Record<string, string>> = {
  'com.docker.network.bridge.default_bridge': 'false',
  'com.docker.network.bridge.enable_icc': 'true',
  'com.docker.network.bridge.enable_ip_masquerade': 'true',
  'com.docker.network.bridge.host_binding_ipv4': '0.0.0.0',
};

/** InvalidArgument `NETWORK_NAME_INVALID`. */
export function checkName(name: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(name)) return;
  throw new EngineError('InvalidArgument', 'NETWORK_NAME_INVALID', `invalid network name ${JSON.stringify(name.slice(0, 100))}`, {
    hint: 'Names start with a letter or digit and go on with letters, digits, "_", "." and "-", at most 255 in all.',
  });
}

/** An option that would change nothing is refused, not ignored: whoever sets it relies on it. */
export function checkOptions(options: Record<string, string>): void {
  for (const [key, value] of Object.entries(options)) {
    if (key === bridgeNameOption) checkBridgeName(value);
    else if (key === mtuOption) checkMtu(value);
    else if (!(key in fixedOptions)) {
      throw new EngineError(
        'Unsupported',
        'NETWORK_OPTION_UNSUPPORTED',
        `the bridge driver has no option ${JSON.stringify(key.slice(0, 100))}`,
        {
          hint: `It has: ${[bridgeNameOption, mtuOption].join(', ')}.`,
        },
      );
    } else if (fixedOptions[key] !== value) {
      const message = `${key}=${value} is not supported: this engine always works as with ${fixedOptions[key]}`;
      throw new EngineError('Unsupported', 'NETWORK_OPTION_UNSUPPORTED', message);
    }
  }
}

function checkBridgeName(name: string): void {
  if (/^[a-zA-Z0-9_.-]{1,15}$/.test(name) && name !== '.' && name !== '..') return;
  throw new EngineError('InvalidArgument', 'BRIDGE_NAME_INVALID', `invalid bridge name ${JSON.stringify(name.slice(0, 60))}`, {
    hint: 'The kernel takes 1 to 15 letters, digits, "_", "." and "-".',
  });
}

function checkMtu(text: string): void {
  if (/^\d{2,5}$/.test(text) && Number(text) >= 68 && Number(text) <= 65_535) return;
  throw new EngineError('InvalidArgument', 'MTU_INVALID', `invalid MTU ${JSON.stringify(text.slice(0, 60))}: expected 68 to 65535 bytes`);
}

/** Finds by name, id, or an unambiguous start of an id, in that order. NotFound `NETWORK_NOT_FOUND`, Conflict `NETWORK_AMBIGUOUS`. */
export function findNetwork<T extends Pick<NetworkInfo, 'id' | 'name'>>(networks: readonly T[], nameOrId: string): T {
  const exact = networks.find(({ name }) => name === nameOrId) ?? networks.find(({ id }) => id === nameOrId);
  if (exact !== undefined) return exact;
  const starting = /^[0-9a-f]+$/.test(nameOrId) ? networks.filter(({ id }) => id.startsWith(nameOrId)) : [];
  const [only, ...others] = starting;
  if (only === undefined) {
    throw new EngineError('NotFound', 'NETWORK_NOT_FOUND', `network ${nameOrId} not found`, {
      hint: `"slipway network ls" lists them; "slipway network create ${nameOrId}" makes it.`,
    });
  }
  if (others.length > 0) {
    throw new EngineError('Conflict', 'NETWORK_AMBIGUOUS', `network ${nameOrId} is ambiguous: ${starting.length} ids start so`, {
      hint: 'Give more digits of the id, or the name.',
    });
  }
  return only;
}
