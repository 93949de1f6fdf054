import type { AuthConfig } from '../api-types/registry.ts';
import type { Reference } from '../oci/reference.ts';
import { isPlainObject } from './decode.ts';
import { authConfig } from './schemas/resources.ts';

/** A header of more than that holds no credentials that anybody has. */
const maxHeaderLength = 64 * 1024;

/** Credentials by the name of their registry, as a client keeps them. */
export type RegistryAuths = ReadonlyMap<string, AuthConfig>;

/**
 * What the header `X-Registry-Auth` holds: base64url (or base64) of JSON. Undefined when there is none or it cannot be read: as with Docker, what
 * needs no credentials then still works, and what needs them says so.
 */
export function decodeRegistryAuth(header: string | string[] | undefined): AuthConfig | undefined {
  const json = decodeHeader(header);
  return json === undefined ? undefined : sound(json);
}

/** What the header `X-Registry-Config` holds: such JSON by registry. What cannot be read counts as not there. */
export function decodeRegistryConfig(header: string | string[] | undefined): RegistryAuths {
  const json = decodeHeader(header);
  const auths = new Map<string, AuthConfig>();
  if (!isPlainObject(json)) return auths;
  for (const [name, value] of Object.entries(json)) {
    const auth = sound(value);
    if (auth !== undefined) auths.set(hostOf(name), auth);
  }
  return auths;
}

/** The ones for the registry that an image comes from. */
export function authFor(auths: RegistryAuths, { domain }: Pick<Reference, 'domain'>): AuthConfig | undefined {
  return auths.get(hostOf(domain));
}

/** `https://index.docker.io/v1/` is what Docker calls its Hub among credentials. */
function hostOf(name: string): string {
  const host = name.replace(/^https?:\/\//, '').split('/')[0] ?? '';
  return ['index.docker.io', 'registry-1.docker.io'].includes(host) ? 'docker.io' : host;
}

function decodeHeader(header: string | string[] | undefined): unknown {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined || text === '' || text.length > maxHeaderLength) return undefined;
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}

function sound(value: unknown): AuthConfig | undefined {
  try {
    return authConfig(value, 'credentials');
  } catch {
    return undefined;
  }
}
