import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EngineError } from '../base/errors.ts';
import { type Family, formatIp, hostOf, type IpAddress, parseCidr, parseIp, type Subnet } from './ip.ts';
import { findNetwork, predefined } from './names.ts';
import type { NetworkInfo } from './port.ts';

/** The version of docs/formats/network.md that this engine writes; it reads 1 too, which had neither IPv6 nor other drivers. */
const formatVersion = 2;

/** What a network is, as in `<root>/networks/<id>.json`. */
export type Definition = NetworkInfo & {
  /** The IPv4 subnet was picked from the pools: it may be picked anew while nothing is attached. */
  subnetPicked: boolean;
  /** The CNI driver's network configuration list, as it was when the network was made. */
  cni?: Record<string, unknown>;
};

/** One of a network's subnets in parsed form. */
export type AddressRange = {
  subnet: Subnet;
  gateway: IpAddress | undefined;
  /** What addresses are given out of: a part of the subnet, or all of it. */
  range: Subnet;
  /** Addresses that are not given out. */
  aux: readonly IpAddress[];
};

const parsed = new WeakMap<Definition, readonly AddressRange[]>();

/** A definition's subnets; none for host, none, and where something else gives addresses out. */
export function rangesOf(definition: Definition): readonly AddressRange[] {
  const known = parsed.get(definition) ?? definition.subnets.map(parseRange);
  parsed.set(definition, known);
  return known;
}

export function rangeOf(definition: Definition, family: Family): AddressRange | undefined {
  return rangesOf(definition).find(({ subnet }) => subnet.family === family);
}

function parseRange({ subnet: text, gateway, range, aux = {} }: Definition['subnets'][number]): AddressRange {
  const subnet = parseCidr(text);
  if (subnet === undefined)
    throw new EngineError('DataLoss', 'NETWORK_DAMAGED', `a network definition has the subnet ${JSON.stringify(text)}`);
  return {
    subnet,
    gateway: parseIp(gateway),
    range: (range === undefined ? undefined : parseCidr(range)) ?? subnet,
    aux: Object.values(aux).flatMap((address) => parseIp(address) ?? []),
  };
}

/** The networks of one root, kept in memory and in one small file each. */
export class Definitions {
  private readonly byId = new Map<string, Definition>();
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Call once, before anything else. */
  async load(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.directory)) {
      const path = join(this.directory, name);
      if (name.endsWith('.tmp')) await rm(path, { force: true });
      if (!/^[0-9a-f]{64}\.json$/.test(name)) continue;
      const definition = decode(path, await readFile(path, 'utf8'));
      this.byId.set(definition.id, definition);
    }
  }

  /** Pre-defined ones first, then by name. */
  all(): Definition[] {
    const rank = ({ name }: Definition) => (predefined as readonly string[]).indexOf(name) >>> 0;
    return [...this.byId.values()].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
  }

  find(nameOrId: string): Definition {
    return findNetwork(this.all(), nameOrId);
  }

  withId(id: string): Definition | undefined {
    return this.byId.get(id);
  }

  named(name: string): Definition | undefined {
    return this.all().find((definition) => definition.name === name);
  }

  /** Takes it into memory at once, so that a second creation of the name sees it, and writes it durably. */
  async put(definition: Definition): Promise<void> {
    const before = this.byId.get(definition.id);
    this.byId.set(definition.id, definition);
    try {
      await writeJson(this.pathOf(definition.id), { version: formatVersion, ...definition }, { sync: true });
    } catch (error) {
      if (before === undefined) this.byId.delete(definition.id);
      else this.byId.set(definition.id, before);
      throw error;
    }
  }

  /**
   * Gone from memory at once: nothing is attached to it any more. Its file goes behind `retire`: an engine that is killed in between still knows
   * of what there is on the host.
   */
  async delete(id: string, retire: () => Promise<void>): Promise<void> {
    const definition = this.byId.get(id);
    this.byId.delete(id);
    try {
      await retire();
      await rm(this.pathOf(id), { force: true });
    } catch (error) {
      if (definition !== undefined) this.byId.set(id, definition);
      throw error;
    }
  }

  private pathOf(id: string): string {
    return join(this.directory, `${id}.json`);
  }
}

export function newNetworkId(): string {
  return randomBytes(32).toString('hex');
}

export function firstHost(subnet: Subnet): string {
  return formatIp(hostOf(subnet, 1n));
}

/** Written beside and renamed, so that a reader sees the old content or the new. `sync`: survives a power cut. */
export async function writeJson(path: string, value: unknown, options: { sync: boolean }): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    await writeFile(temporary, `${JSON.stringify(value)}\n`, { flag: 'wx', mode: 0o600, flush: options.sync });
    await rename(temporary, path);
    if (options.sync) await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** After power loss a rename may vanish though the data survived, unless its folder was synced too. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function decode(path: string, text: string): Definition {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(path, 'it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null || !('version' in value)) throw damaged(path, 'it has no version');
  const { version, ...definition } = value as Definition & { version: unknown };
  if (version !== formatVersion && version !== 1) {
    throw new EngineError(
      'Unsupported',
      'NETWORK_FORMAT_NEWER',
      `${path} has version ${version}; this engine reads 1 and ${formatVersion}`,
      {
        hint: 'A newer engine wrote it: run that one, or remove the file to forget the network.',
      },
    );
  }
  if (typeof definition.id !== 'string' || typeof definition.name !== 'string' || !Array.isArray(definition.subnets)) {
    throw damaged(path, 'a field is missing');
  }
  // Older ones have no IPv6.
  return { ...definition, ipv6: definition.ipv6 ?? false };
}

function damaged(path: string, why: string, cause?: unknown): EngineError {
  return new EngineError('DataLoss', 'NETWORK_DAMAGED', `the network definition ${path} is damaged: ${why}`, {
    hint: 'Remove the file to forget the network, then create it again.',
    cause,
  });
}
