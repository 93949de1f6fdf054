import { EngineError } from '../base/errors.ts';
import type { NetworkInfo } from './port.ts';

/** Docker's three networks that are always there. */
export const predefined = ['bridge', 'host', 'none'] as const;
export type PredefinedName = (typeof predefined)[number];

export function isPredefined(name: string): name is PredefinedName {
  return (predefined as readonly string[]).includes(name);
}

/** InvalidArgument `NETWORK_NAME_INVALID`. */
export function checkName(name: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(name)) return;
  throw new EngineError('InvalidArgument', 'NETWORK_NAME_INVALID', `invalid network name ${JSON.stringify(name.slice(0, 100))}`, {
    hint: 'Names start with a letter or digit and go on with letters, digits, "_", "." and "-", at most 255 in all.',
  });
}

/** What the kernel takes for an interface. */
export function isInterfaceName(name: string): boolean {
  return /^[a-zA-Z0-9_.-]{1,15}$/.test(name) && name !== '.' && name !== '..';
}

/** It names a file. InvalidArgument `CONTAINER_ID_INVALID`. */
export function checkContainerId(containerId: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(containerId)) return;
  throw new EngineError('InvalidArgument', 'CONTAINER_ID_INVALID', `invalid container id ${JSON.stringify(containerId.slice(0, 60))}`);
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
