import { EngineError } from '../base/errors.ts';
import { parseIp } from './ip.ts';
import { isInterfaceName } from './names.ts';

/** How packets get from outside to a bridge network, and out of it; Docker's words. */
const gatewayModes = ['nat', 'nat-unprotected', 'routed'] as const;
export type GatewayMode = (typeof gatewayModes)[number];

/** The options of a bridge network, read. Names of files and links are the definition's. */
export type BridgeOptions = {
  /** Containers on the network reach each other. */
  icc: boolean;
  /** What leaves the host carries an address of the host. */
  masquerade: boolean;
  /** Where ports are published that name no address: '' for every address. */
  hostBinding: string;
  mtu: number | undefined;
  /** Interfaces in containers are this and a number. */
  interfacePrefix: string;
  mode: Readonly<Record<4 | 6, GatewayMode>>;
  /** The address of the host that outgoing packets carry, when it is not left to the kernel. */
  source: Readonly<Record<4 | 6, string | undefined>>;
};

export const bridgeNameOption = 'com.docker.network.bridge.name';
const mtuOption = 'com.docker.network.driver.mtu';

type Reader = (value: string, key: string) => Partial<BridgeOptions>;

const defaults: BridgeOptions = {
  icc: true,
  masquerade: true,
  hostBinding: '',
  mtu: undefined,
  interfacePrefix: 'eth',
  mode: { 4: 'nat', 6: 'nat' },
  source: { 4: undefined, 6: undefined },
};

const readers: Readonly<Record<string, Reader>> = {
  [bridgeNameOption]: (value) => {
    checkInterfaceName(value);
    return {};
  },
  [mtuOption]: (value) => ({ mtu: parseMtu(value) }),
  'com.docker.network.bridge.enable_icc': (value, key) => ({ icc: parseBoolean(value, key) }),
  'com.docker.network.bridge.enable_ip_masquerade': (value, key) => ({ masquerade: parseBoolean(value, key) }),
  'com.docker.network.bridge.host_binding_ipv4': (value, key) => ({ hostBinding: parseAddress(value, key, 4) === '0.0.0.0' ? '' : value }),
  'com.docker.network.container_iface_prefix': (value) => {
    if (/^[a-zA-Z_][a-zA-Z0-9_.-]{0,10}$/.test(value)) return { interfacePrefix: value };
    throw new EngineError('InvalidArgument', 'INTERFACE_PREFIX_INVALID', `invalid interface prefix ${JSON.stringify(value.slice(0, 60))}`);
  },
  // The default network is made by the engine; this is how Docker marks it.
  'com.docker.network.bridge.default_bridge': (value, key) => {
    if (parseBoolean(value, key)) throw unsupported(`${key}=${value}: the default network is made by the engine`);
    return {};
  },
};

const familyReaders: Readonly<
  Record<string, (value: string, key: string, family: 4 | 6, options: BridgeOptions) => Partial<BridgeOptions>>
> = {
  'com.docker.network.bridge.gateway_mode_ipv': (value, key, family, options) => {
    const mode = gatewayModes.find((name) => name === value);
    if (mode === undefined) throw unsupported(`${key}=${value}: it is one of ${gatewayModes.join(', ')}`);
    return { mode: { ...options.mode, [family]: mode } };
  },
  'com.docker.network.host_ipv': (value, key, family, options) => ({
    source: { ...options.source, [family]: parseAddress(value, key, family) },
  }),
};

export const optionNames: readonly string[] = [
  ...Object.keys(readers),
  ...Object.keys(familyReaders).flatMap((name) => [`${name}4`, `${name}6`]),
];

/** An option that would change nothing is refused, not ignored: whoever sets it relies on it. InvalidArgument; Unsupported `NETWORK_OPTION_UNSUPPORTED`. */
export function parseBridgeOptions(given: Readonly<Record<string, string>>): BridgeOptions {
  let options = defaults;
  for (const [key, value] of Object.entries(given)) {
    const family = key.endsWith('4') ? 4 : 6;
    const familyReader = Object.hasOwn(familyReaders, key.slice(0, -1)) && /[46]$/.test(key) ? familyReaders[key.slice(0, -1)] : undefined;
    const reader = Object.hasOwn(readers, key) ? readers[key] : undefined;
    if (reader === undefined && familyReader === undefined) {
      throw unsupported(`the bridge driver has no option ${JSON.stringify(key.slice(0, 100))}`, `It has: ${optionNames.join(', ')}.`);
    }
    options = { ...options, ...reader?.(value, key), ...familyReader?.(value, key, family, options) };
  }
  return options;
}

export function checkInterfaceName(name: string): void {
  if (isInterfaceName(name)) return;
  throw new EngineError('InvalidArgument', 'BRIDGE_NAME_INVALID', `invalid bridge name ${JSON.stringify(name.slice(0, 60))}`, {
    hint: 'The kernel takes 1 to 15 letters, digits, "_", "." and "-".',
  });
}

export function parseMtu(text: string): number {
  if (/^\d{2,5}$/.test(text) && Number(text) >= 68 && Number(text) <= 65_535) return Number(text);
  throw new EngineError('InvalidArgument', 'MTU_INVALID', `invalid MTU ${JSON.stringify(text.slice(0, 60))}: expected 68 to 65535 bytes`);
}

/** Go's strconv.ParseBool, as clients of Docker expect. */
function parseBoolean(text: string, key: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
  throw new EngineError(
    'InvalidArgument',
    'NETWORK_OPTION_INVALID',
    `invalid value ${JSON.stringify(text.slice(0, 60))} of ${key}: it is true or false`,
  );
}

function parseAddress(text: string, key: string, family: 4 | 6): string {
  if (parseIp(text)?.family === family) return text;
  const message = `invalid value ${JSON.stringify(text.slice(0, 60))} of ${key}: it is not an IPv${family} address`;
  throw new EngineError('InvalidArgument', 'NETWORK_OPTION_INVALID', message);
}

function unsupported(message: string, hint?: string): EngineError {
  return new EngineError('Unsupported', 'NETWORK_OPTION_UNSUPPORTED', message, { hint });
}
