import { EngineError } from '../../base/errors.ts';
import type { Reference } from '../../oci/reference.ts';
import type { Context } from '../command.ts';
import { configPath } from './config-file.ts';
import { CredentialStore, type Credentials, hubAddress } from './credentials.ts';

/** The header with the credentials of an image's registry; none where there are none. */
export function authHeader(context: Context, reference: Pick<Reference, 'domain'>): Record<string, string> {
  const auth = authOf(storeOf(context), serverOf(reference));
  return auth === undefined ? {} : { 'X-Registry-Auth': encode(auth) };
}

/** The header with the credentials of these images' registries. */
export function authsHeader(context: Context, references: readonly Pick<Reference, 'domain'>[]): Record<string, string> {
  const servers = [...new Set(references.map(serverOf))];
  return encodeAll(storeOf(context), servers);
}

/** The header with all credentials that are kept, for a build, of which nobody knows yet where its base images come from. A helper that fails is left out: most builds need none. */
export function allAuthsHeader(context: Context): Record<string, string> {
  const store = storeOf(context);
  const tolerant = {
    get(server: string): Credentials | undefined {
      try {
        return store.get(server);
      } catch (error) {
        if (error instanceof EngineError && error.code === 'CREDENTIAL_HELPER') return undefined;
        throw error;
      }
    },
  };
  return encodeAll(tolerant, store.servers());
}

type Reader = Pick<CredentialStore, 'get'>;

function encodeAll(store: Reader, servers: readonly string[]): Record<string, string> {
  const auths = servers.flatMap((server) => {
    const auth = authOf(store, server);
    return auth === undefined ? [] : [[server, auth] as const];
  });
  return auths.length === 0 ? {} : { 'X-Registry-Config': encode(Object.fromEntries(auths)) };
}

function authOf(store: Reader, server: string): Record<string, string> | undefined {
  const found = store.get(server);
  if (found === undefined) return undefined;
  const { username, password, identityToken } = found;
  if (username === '' && password === '' && identityToken === '') return undefined;
  return { username, password, ...(identityToken === '' ? {} : { identitytoken: identityToken }), serveraddress: server };
}

function storeOf({ configFolder, env }: Context): CredentialStore {
  return new CredentialStore(configPath(configFolder, env), env);
}

function serverOf({ domain }: Pick<Reference, 'domain'>): string {
  return domain === 'docker.io' ? hubAddress : domain;
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
