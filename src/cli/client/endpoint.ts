import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, errnoOf } from '../../base/errors.ts';

/** PEM, read when the endpoint was made. Without `verify` the daemon's certificate is not checked. */
export type ClientTls = { ca: Buffer | undefined; cert: Buffer | undefined; key: Buffer | undefined; verify: boolean };

/** Where a daemon listens. `shown` is for messages. */
export type Endpoint =
  | { kind: 'unix'; path: string; shown: string }
  | { kind: 'tcp'; host: string; port: number; tls: ClientTls | undefined; shown: string }
  /** Reached by `ssh` and the far side's `slipway system dial-stdio`. */
  | { kind: 'ssh'; host: string; user: string | undefined; port: number | undefined; path: string | undefined; shown: string };

export type TlsFlags = {
  tls?: boolean | undefined;
  tlsverify?: boolean | undefined;
  tlscacert?: string | undefined;
  tlscert?: string | undefined;
  tlskey?: string | undefined;
};

const defaultSocket = '/run/slipway/slipway.sock';

/**
 * Where the daemon listens: `--host` over SLIPWAY_HOST over DOCKER_HOST over the default. TLS is asked for as with Docker: by flags, else by
 * DOCKER_TLS_VERIFY, with files from DOCKER_CERT_PATH. Throws InvalidArgument `HOST_INVALID` and `CERTIFICATE_UNREADABLE`.
 */
export function endpointOf(flags: TlsFlags & { host?: string | undefined }, env: NodeJS.ProcessEnv): Endpoint {
  const text =
    [flags.host, env.SLIPWAY_HOST, env.DOCKER_HOST].find((each) => each !== undefined && each !== '') ?? `unix://${defaultSocket}`;
  const [, scheme = '', rest = ''] = /^([a-z]+):\/\/(.*)$/s.exec(text) ?? ['', 'unix', text];
  if (scheme === 'unix' && rest.startsWith('/')) return { kind: 'unix', path: rest, shown: `unix://${rest}` };
  if (scheme === 'tcp' || scheme === 'https') return tcpEndpoint(text, rest, tlsOf(flags, env, scheme === 'https'));
  if (scheme === 'ssh') return sshEndpoint(text);
  throw invalidHost(text, 'unknown kind of host');
}

function tcpEndpoint(text: string, rest: string, tls: ClientTls | undefined): Endpoint {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:/[\]]+))(?::(\d{1,5}))?\/?$/.exec(rest) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) > 65_535) throw invalidHost(text, 'not HOST:PORT');
  return { kind: 'tcp', host, port: Number(port ?? (tls === undefined ? 2375 : 2376)), tls, shown: text };
}

function sshEndpoint(text: string): Endpoint {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const host = url?.hostname.replace(/^\[(.*)\]$/, '$1');
  if (url === undefined || !host) throw invalidHost(text, 'not ssh://[USER@]HOST[:PORT]');
  if (url.password !== '') throw invalidHost(text.replace(/:[^:@/]*@/, '@'), 'a password does not belong into an address');
  const path = url.pathname === '' || url.pathname === '/' ? undefined : decodeURIComponent(url.pathname);
  const user = url.username === '' ? undefined : decodeURIComponent(url.username);
  return { kind: 'ssh', host, user, port: url.port === '' ? undefined : Number(url.port), path, shown: text };
}

function invalidHost(text: string, why: string): EngineError {
  return new EngineError('InvalidArgument', 'HOST_INVALID', `${why}: ${text}`, {
    hint: 'Hosts look like unix:///run/slipway/slipway.sock, tcp://build.example.com:2376 (with TLS) or ssh://me@build.example.com.',
    exitCode: 125,
  });
}

function tlsOf(flags: TlsFlags, env: NodeJS.ProcessEnv, always: boolean): ClientTls | undefined {
  const verify = flags.tlsverify ?? (env.DOCKER_TLS_VERIFY ?? '') !== '';
  const files = [flags.tlscacert, flags.tlscert, flags.tlskey];
  const wanted = always || verify || flags.tls === true || (env.DOCKER_TLS ?? '') !== '' || files.some((file) => file !== undefined);
  if (!wanted) return undefined;
  const folder = env.DOCKER_CERT_PATH || env.DOCKER_CONFIG || join(env.HOME ?? process.getBuiltinModule('node:os').homedir(), '.docker');
  const read = (given: string | undefined, name: string) => readPem(given ?? join(folder, name), given !== undefined);
  return {
    ca: read(flags.tlscacert, 'ca.pem'),
    cert: read(flags.tlscert, 'cert.pem'),
    key: read(flags.tlskey, 'key.pem'),
    verify: verify || always || flags.tls !== true,
  };
}

/** A file that was not named may be missing: the daemon's answer then tells. */
function readPem(path: string, named: boolean): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (!named && errnoOf(error) === 'ENOENT') return undefined;
    throw new EngineError('InvalidArgument', 'CERTIFICATE_UNREADABLE', `cannot read ${path}: ${errnoOf(error) ?? String(error)}`, {
      hint: 'Check --tlscacert, --tlscert and --tlskey, or the folder DOCKER_CERT_PATH.',
      exitCode: 125,
      cause: error,
    });
  }
}
