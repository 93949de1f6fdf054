import { BlockList, isIP } from 'node:net';
import { EngineError } from '../../base/errors.ts';
import { isLoopback, registryAddress } from './address.ts';

/** What the configuration says of one registry. Files are PEM, paths absolute. */
export type HostSettings = {
  /** Tried in this order before the registry, for what is pulled: `mirror.example`, `http://10.0.0.5:5000`, `harbor.example/hub`. */
  readonly mirrors: readonly string[];
  /** Plain HTTP will do where HTTPS is not answered, and any certificate. */
  readonly insecure: boolean;
  /** Authorities beside the system's and those in /etc/docker/certs.d/HOST. */
  readonly ca?: string | undefined;
  /** What this host shows as its own. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Credentials for whoever brings none, in the form of Docker's config.json; for a mirror, which is never told those of its registry, the only ones. */
  readonly authFile?: string | undefined;
  /** Downloads at once, and other requests at once. */
  readonly maxRequests?: number | undefined;
};

/** By host, with the port where it is not 443: `docker.io`, `registry.example:5000`. A range of addresses (`10.0.0.0/8`) only says that they are insecure. */
export type RegistryHosts = Readonly<Record<string, HostSettings>>;

const noSettings: HostSettings = { mirrors: [], insecure: false };

/** Where requests go: `host` as in a URL; `prefix` comes before a repository's path there (`hub/`), and is '' for a registry itself. */
export type Place = { readonly host: string; readonly prefix: string; readonly insecure: boolean };

/** What is configured, found by any of a host's names. */
export class HostTable {
  readonly #settings: ReadonlyMap<string, HostSettings>;
  readonly #insecure = new BlockList();

  /** InvalidArgument `REGISTRY_ADDRESS_INVALID` for hosts and mirrors that are none. */
  constructor(hosts: RegistryHosts) {
    const [ranges, names] = [Object.keys(hosts).filter(isRange), Object.entries(hosts).filter(([host]) => !isRange(host))];
    for (const range of ranges) addRange(this.#insecure, range);
    this.#settings = new Map(names.map(([host, settings]) => [registryAddress(host).host, settings]));
    for (const { mirrors } of this.#settings.values()) for (const mirror of mirrors) parseMirror(mirror);
  }

  of(host: string): HostSettings {
    return this.#settings.get(host) ?? noSettings;
  }

  isInsecure(host: string): boolean {
    if (this.of(host).insecure) return true;
    const name = host.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
    const family = isIP(name);
    return isLoopback(name) || (family !== 0 && this.#insecure.check(name, family === 6 ? 'ipv6' : 'ipv4'));
  }

  registry(domain: string): Place {
    const { host } = registryAddress(domain);
    return { host, prefix: '', insecure: this.isInsecure(host) };
  }

  mirrors(domain: string): Place[] {
    return this.of(registryAddress(domain).host).mirrors.map((text) => {
      const { host, prefix, plain } = parseMirror(text);
      return { host, prefix, insecure: plain || this.isInsecure(host) };
    });
  }
}

/** `10.0.0.0/8`, `fd00::/8`: addresses as a registry's name has them. Names are not looked up. */
export function isRange(text: string): boolean {
  const [address = '', bits = '', ...rest] = text.split('/');
  const family = isIP(address);
  return rest.length === 0 && family !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 6 ? 128 : 32);
}

function addRange(list: BlockList, range: string): void {
  const [address = '', bits] = range.split('/');
  list.addSubnet(address, Number(bits), isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** `plain`: it was written with http://. A path is put before the repository's, as Harbor's and Artifactory's caches want it. */
export function parseMirror(text: string): { host: string; prefix: string; plain: boolean } {
  const { host } = registryAddress(text === '' ? '?' : text);
  const url = new URL(/^https?:\/\//i.test(text) ? text : `https://${text}`);
  const prefix = url.pathname.replace(/^\/+|\/+$/g, '');
  if (url.search !== '' || url.hash !== '' || !/^[a-z0-9._/-]*$/.test(prefix)) {
    throw new EngineError('InvalidArgument', 'REGISTRY_ADDRESS_INVALID', `"${text.slice(0, 200)}" is not a mirror`, {
      hint: 'A mirror is a host, with a path where its copies lie below one: mirror.example:5000, https://harbor.example/hub.',
    });
  }
  return { host, prefix: prefix === '' ? '' : `${prefix}/`, plain: url.protocol === 'http:' };
}
