import type { AuthConfig } from '../../api-types/registry.ts';
import { sha256 } from '../../oci/digest.ts';
import type { Reference } from '../../oci/reference.ts';
import { Agents } from './agents.ts';
import { credentialsFromFile } from './auth-file.ts';
import { Authorizer } from './authorizer.ts';
import { type Credentials, credentialsOf } from './credentials.ts';
import { Endpoint, type Net } from './endpoint.ts';
import { HostTable, type Place, type RegistryHosts } from './hosts.ts';
import { defaultTimeouts, type Timeouts } from './http.ts';
import { login } from './login.ts';
import type { Registries, Repository, RepositoryOptions } from './port.ts';
import { HttpRepository, type Source } from './repository.ts';
import { defaultRetries, type RetryPolicy } from './retry.ts';

export type RegistryClientOptions = {
  hosts?: RegistryHosts | undefined;
  timeouts?: Partial<Timeouts> | undefined;
  retries?: Partial<RetryPolicy> | undefined;
  /** For HTTP_PROXY, HTTPS_PROXY and NO_PROXY; the process's when not given. */
  env?: Record<string, string | undefined> | undefined;
};

const maxEndpoints = 500;
const maxAuthorizers = 500;
const anonymous: AuthConfig = {};

/** Registries over HTTP. Keeps connections, tokens, and what it has found out about hosts. */
export class RegistryClient implements Registries {
  readonly #net: Net;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #authorizers = new Map<string, Authorizer>();

  /** InvalidArgument `REGISTRY_ADDRESS_INVALID` for configured hosts and mirrors that are none. */
  constructor({ hosts: configured = {}, timeouts, retries, env = process.env }: RegistryClientOptions = {}) {
    const hosts = new HostTable(configured);
    this.#net = {
      hosts,
      agents: new Agents(hosts, env),
      timeouts: { ...defaultTimeouts, ...timeouts },
      retries: { ...defaultRetries, ...retries },
    };
  }

  login(auth: AuthConfig, { signal }: { signal?: AbortSignal } = {}): Promise<{ identityToken: string }> {
    return login(auth.serveraddress ?? '', credentialsOf(auth), this.#net, signal);
  }

  repository(reference: Pick<Reference, 'domain' | 'path'>, { auth, actions = 'pull' }: RepositoryOptions = {}): Repository {
    const { hosts } = this.#net;
    const { domain, path } = reference;
    return new HttpRepository({
      reference: { domain, path },
      actions,
      registry: this.#source(hosts.registry(domain), auth ?? anonymous),
      // One's password for the registry is not the mirror's business; the mirror's own is in the configuration.
      mirrors: actions === 'pull' ? hosts.mirrors(domain).map((place) => this.#source(place, anonymous, true)) : [],
      elsewhere: (host) => this.#source({ host, prefix: '', insecure: hosts.isInsecure(host) }, anonymous),
    });
  }

  #source(place: Place, auth: AuthConfig, isMirror = false): Source {
    const key = JSON.stringify([place.host, place.prefix, place.insecure, isMirror]);
    const endpoint = remember(this.#endpoints, key, maxEndpoints, () => new Endpoint(place, this.#net, isMirror));
    return { endpoint, as: this.#authorizer(key, place.host, credentialsOf(auth)) };
  }

  #authorizer(place: string, host: string, given: Credentials): Authorizer {
    const key = sha256(JSON.stringify([place, given]));
    const { authFile } = this.#net.hosts.of(host);
    const isAnonymous = Object.values(given).every((value) => value === '');
    const credentials = isAnonymous && authFile !== undefined ? () => credentialsFromFile(authFile, host) : given;
    return remember(this.#authorizers, key, maxAuthorizers, () => new Authorizer(credentials, this.#net, this.#net.retries));
  }
}

/** What was used longest ago is forgotten first. */
function remember<T>(map: Map<string, T>, key: string, most: number, make: () => T): T {
  const value = map.get(key) ?? make();
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > most && oldest !== undefined) map.delete(oldest);
  return value;
}
