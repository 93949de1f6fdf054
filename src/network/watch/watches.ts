import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { errnoOf } from '../../base/errors.ts';
import type { NetworkWatch, NetworkWatches, Traffic, WatchOptions } from '../port.ts';
import { allowsHost, type HostPatterns, parseHostPatterns, plainName } from './host-patterns.ts';
import { type Answer, type Ask, NameServer, nameServerAddress } from './name-server.ts';
import { PacketRules } from './packet-rules.ts';

/** A name's addresses, from outside. Throws the errors of node:dns. */
export type Resolve = (name: string, type: 'A' | 'AAAA') => Promise<readonly { address: string; ttl: number }[]>;

/** Of names that were refused and of addresses that were admitted: more than any sound step has, and a bound on the rules. */
const most = 4096;

/** Watches by rules and a name server inside the namespace: what a name leads to is admitted before the name is answered (docs/adr/0125). */
export class HostWatches implements NetworkWatches {
  readonly #resolve: Resolve;

  constructor(options: { resolve?: Resolve | undefined } = {}) {
    this.#resolve = options.resolve ?? hostResolver();
  }

  async open(netns: string, options: WatchOptions): Promise<NetworkWatch> {
    const allowed = options.allowed === undefined ? undefined : parseHostPatterns(options.allowed);
    const rules = new PacketRules(netns, { held: allowed !== undefined });
    await rules.begin();
    const watch = new Watch(netns, { ...options, patterns: allowed, rules, resolve: this.#resolve });
    try {
      await watch.admitKnown();
      return watch;
    } catch (error) {
      await watch.close();
      throw error;
    }
  }
}

type Parts = WatchOptions & { patterns: HostPatterns | undefined; rules: PacketRules; resolve: Resolve };

class Watch implements NetworkWatch {
  readonly dnsServer = nameServerAddress;
  readonly #parts: Parts;
  readonly #server: NameServer;
  /** By address: the name that led there first, and when packets go there. */
  readonly #admitted = new Map<string, { host: string; ready: Promise<void> }>();
  readonly #refused = new Set<string>();

  constructor(netns: string, parts: Parts) {
    this.#parts = parts;
    this.#server = new NameServer(netns, (name, type) => this.#ask(plainName(name), type));
  }

  get refused(): readonly string[] {
    return [...this.#refused];
  }

  async admitKnown(): Promise<void> {
    const { patterns, known = [] } = this.#parts;
    const given = (patterns?.addresses ?? []).map((address) => ({ name: address, address }));
    const led = known.filter(({ name }) => patterns === undefined || allowsHost(patterns, name));
    for (const { name, address } of [...given, ...led]) await this.#admit(name, [address]);
  }

  #ask: Ask = async (name, type) => {
    const { patterns, resolve, ipv6 } = this.#parts;
    if (patterns !== undefined && !allowsHost(patterns, name)) {
      if (this.#refused.size < most) this.#refused.add(name);
      return none('NXDOMAIN');
    }
    if (type === 'AAAA' && !ipv6) return none('NOERROR');
    try {
      const addresses = await resolve(name, type);
      await this.#admit(
        name,
        addresses.map(({ address }) => address),
      );
      return { code: 'NOERROR', addresses };
    } catch (error) {
      const code = errnoOf(error);
      return none(code === 'ENOTFOUND' ? 'NXDOMAIN' : code === 'ENODATA' ? 'NOERROR' : 'SERVFAIL');
    }
  };

  async #admit(host: string, addresses: readonly string[]): Promise<void> {
    const fresh = addresses.filter((address) => isIP(address) !== 0 && !this.#admitted.has(address));
    if (this.#admitted.size + fresh.length > most) throw new Error(`more than ${most} addresses`);
    for (const family of [4, 6] as const) {
      const ofFamily = fresh.filter((address) => isIP(address) === family);
      if (ofFamily.length === 0) continue;
      const ready = this.#parts.rules.admit(family, ofFamily);
      for (const address of ofFamily) this.#admitted.set(address, { host, ready });
    }
    // Those that another question has led to, too: its rule may be under way.
    await Promise.all(addresses.map((address) => this.#admitted.get(address)?.ready));
  }

  async traffic(): Promise<Traffic[]> {
    const counted = await this.#parts.rules.counted();
    return counted
      .filter(({ bytesIn, bytesOut }) => bytesIn + bytesOut > 0)
      .map(({ address, bytesIn, bytesOut }) => ({ host: this.#admitted.get(address)?.host ?? '', address, bytesIn, bytesOut }));
  }

  async close(): Promise<void> {
    this.#server.close();
  }
}

function none(code: Answer['code']): Answer {
  return { code, addresses: [] };
}

/** By the host's own name servers. */
function hostResolver(): Resolve {
  const resolver = new Resolver({ timeout: 3_000, tries: 3 });
  return (name, type) => (type === 'A' ? resolver.resolve4(name, { ttl: true }) : resolver.resolve6(name, { ttl: true }));
}
