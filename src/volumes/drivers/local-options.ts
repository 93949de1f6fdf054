import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { EngineError } from '../../base/errors.ts';

/** What a volume is a mount of. */
export type LocalDevice = { type: string; device: string; options: string };

const known = ['type', 'o', 'device', 'size'];
const needs: Record<string, string[]> = { device: ['type'], type: ['device'], o: ['device', 'type'] };

/**
 * The local driver's options, by Docker's rules and in its words: `type`, `device` and `o` go together. Undefined for a plain folder.
 * InvalidArgument `VOLUME_OPTIONS_INVALID`.
 */
export function parseLocalOptions(name: string, options: Record<string, string>): LocalDevice | undefined {
  const fail = (why: string, hint?: string) =>
    new EngineError('InvalidArgument', 'VOLUME_OPTIONS_INVALID', `create ${name}: ${why}`, { hint });
  for (const option of Object.keys(options)) {
    if (!known.includes(option)) throw fail(`invalid option: "${option}"`, `The local driver takes ${known.join(', ')}.`);
  }
  if (options.size !== undefined && !/^0*$/.test(options.size)) {
    throw fail(
      'quota size requested but no quota support',
      'Without quotas a limit can be had with type=tmpfs, device=tmpfs, o=size=BYTES.',
    );
  }
  for (const [option, required] of Object.entries(needs)) {
    const missing = options[option] === undefined ? undefined : required.find((other) => !options[other]);
    if (missing !== undefined) throw fail(`missing required option: "${missing}"`);
  }
  if (options.type === 'cifs' && /^(cifs:|smb:)?\/\/[^/]*:\d+(\/|$)/.test(options.device ?? '')) {
    throw fail("port not allowed in CIFS device URL, include 'port' in 'o='");
  }
  if (options.device === undefined || options.type === undefined) return undefined;
  return { type: options.type, device: options.device, options: options.o ?? '' };
}

/** The kernel's NFS and CIFS want an address where people write a name. */
export async function resolveAddress(device: LocalDevice): Promise<LocalDevice> {
  if (!/^(nfs4?|cifs)$/.test(device.type)) return device;
  const name = /(?:^|,)addr=([^,]*)/.exec(device.options)?.[1];
  if (name === undefined || name === '' || isIP(name) !== 0) return device;
  try {
    const { address } = await lookup(name);
    return { ...device, options: device.options.replace(/(^|,)addr=[^,]*/, `$1addr=${address}`) };
  } catch (cause) {
    throw new EngineError(
      'Unavailable',
      'VOLUME_ADDRESS_UNKNOWN',
      `error resolving passed in network volume address: ${name}: ${cause instanceof Error ? cause.message : cause}`,
      { cause },
    );
  }
}

/** For errors and logs. */
export function withoutPassword(options: string): string {
  return options.replace(/(^|,)password=[^,]*/g, '$1password=********');
}
