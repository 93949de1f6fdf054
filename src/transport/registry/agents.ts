import { readdir, readFile } from 'node:fs/promises';
import { Agent as PlainAgent } from 'node:http';
import { Agent as SecureAgent } from 'node:https';
import { join } from 'node:path';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { EngineError, isErrno } from '../../base/errors.ts';
import { isLoopback } from './address.ts';
import type { HostSettings, HostTable } from './hosts.ts';

const certificatesDirectory = '/etc/docker/certs.d';
/** Hosts that blobs are redirected to come and go; what is forgotten is only made again. */
const maxHosts = 200;
/** Server sockets are closed by most registries after a minute or more. */
const idleMs = 30_000;

/** Connections that are kept: to each host with the certificates that are configured for it, through the proxies of the environment. */
export class Agents {
  readonly #hosts: HostTable;
  readonly #plain: PlainAgent;
  readonly #local = new PlainAgent({ keepAlive: true, timeout: idleMs });
  readonly #secure = new Map<string, Promise<SecureAgent>>();
  readonly #proxyEnv: Record<string, string | undefined>;
  #systemContext: SecureContext | undefined;

  constructor(hosts: HostTable, env: Record<string, string | undefined>) {
    this.#hosts = hosts;
    this.#proxyEnv = env;
    this.#plain = new PlainAgent({ keepAlive: true, timeout: idleMs, proxyEnv: env });
  }

  /** Unavailable `REGISTRY_CERTIFICATES_UNREADABLE` names the file. */
  async of(url: URL): Promise<PlainAgent | SecureAgent> {
    // No proxy can reach this host's loopback.
    if (url.protocol === 'http:') return isLoopback(url.hostname) ? this.#local : this.#plain;
    const known = this.#secure.get(url.host);
    if (known !== undefined) return known;
    const made = this.#make(url);
    this.#secure.set(url.host, made);
    const [oldest] = this.#secure.keys();
    if (this.#secure.size > maxHosts && oldest !== undefined) this.#secure.delete(oldest);
    made.catch(() => this.forget(url.host));
    return made;
  }

  /** Reads a host's certificates anew for the next connection: they may have been put right. */
  forget(host: string): void {
    this.#secure.delete(host);
  }

  async #make(url: URL): Promise<SecureAgent> {
    const own = await certificatesOf(url.host, this.#hosts.of(url.host));
    const isLocal = isLoopback(url.hostname);
    // A context of some 140 authorities takes milliseconds to make; most hosts have the system's.
    if (own === undefined) this.#systemContext ??= createSecureContext({ ca: systemAuthorities() });
    return new SecureAgent({
      keepAlive: true,
      timeout: idleMs,
      rejectUnauthorized: !this.#hosts.isInsecure(url.host),
      secureContext: own ?? this.#systemContext,
      ...(isLocal ? {} : { proxyEnv: this.#proxyEnv }),
    });
  }
}

function systemAuthorities(): string[] {
  return [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
}

/** Undefined where nothing is configured for the host. In Docker's folder, NAME.crt is an authority, NAME.cert and NAME.key are a client's. */
async function certificatesOf(host: string, settings: HostSettings): Promise<SecureContext | undefined> {
  const folder = join(certificatesDirectory, host);
  const names = await namesIn(folder);
  const inFolder = (name: string | undefined) => (name === undefined ? undefined : join(folder, name));
  const clientName = names.find((name) => name.endsWith('.cert') && names.includes(name.replace(/cert$/, 'key')));
  const authorities = names.filter((name) => name.endsWith('.crt')).map((name) => join(folder, name));
  if (settings.ca !== undefined) authorities.push(settings.ca);
  const cert = settings.cert ?? inFolder(clientName);
  const key = settings.cert === undefined ? inFolder(clientName?.replace(/cert$/, 'key')) : settings.key;
  if (authorities.length === 0 && cert === undefined) return undefined;
  const [ca, certPem, keyPem] = await Promise.all([Promise.all(authorities.map(pem)), optionalPem(cert), optionalPem(key)]);
  try {
    return createSecureContext({ ca: [...systemAuthorities(), ...ca], cert: certPem, key: keyPem });
  } catch (cause) {
    const files = [...authorities, cert, key].filter((file) => file !== undefined).join(', ');
    throw unreadable(`the certificates for ${host} cannot be used (${files})`, cause);
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

async function pem(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw unreadable(`cannot read ${file}`, cause);
  }
}

async function optionalPem(file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : pem(file);
}

function unreadable(what: string, cause: unknown): EngineError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new EngineError('Unavailable', 'REGISTRY_CERTIFICATES_UNREADABLE', `${what}: ${why}`, { cause });
}
