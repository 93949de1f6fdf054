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
  /** Downloads at once, and other requests at once. */
  readonly maxRequests?: number | undefined;
};

/** By host, with the port where it is not 443: `docker.io`, `registry.example:5000`. */
export type RegistryHosts = Readonly<Record<string, HostSettings>>;

const noSettings: HostSettings = { mirrors: [], insecure: false };

/** Where requests go: `host` as in a URL; `prefix` comes before a repository's path there (`hub/`), and is '' for a registry itself. */
export type Place = { readonly host: string; readonly prefix: string; readonly insecure: boolean };

/** What is configured, found by any of a host's names. */
export class HostTable {
  readonly #settings: ReadonlyMap<string, HostSettings>;

  /** InvalidArgument `REGISTRY_ADDRESS_INVALID` for hosts and mirrors that are none. */
  constructor(hosts: RegistryHosts) {
    this.#settings = new Map(Object.entries(hosts).map(([host, settings]) => [registryAddress(host).host, settings]));
    for (const { mirrors } of this.#settings.values()) for (const mirror of mirrors) parseMirror(mirror);
  }

  of(host: string): HostSettings {
    return this.#settings.get(host) ?? noSettings;
  }

  isInsecure(host: string): boolean {
    return this.of(host).insecure || isLoopback(host.replace(/:\d+$/, ''));
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
