import type { AuthConfig } from '../api-types/registry.ts';
import { authConfig } from './schemas/resources.ts';

/** A header of more than that holds no credentials that anybody has. */
const maxHeaderLength = 64 * 1024;

/**
 * What the header `X-Registry-Auth` holds: base64url (or base64) of JSON. Undefined when there is none or it cannot be read: as with Docker, what
 * needs no credentials then still works, and what needs them says so.
 */
export function decodeRegistryAuth(header: string | string[] | undefined): AuthConfig | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined || text === '' || text.length > maxHeaderLength) return undefined;
  try {
    return authConfig(JSON.parse(Buffer.from(text, 'base64url').toString('utf8')), 'X-Registry-Auth');
  } catch {
    return undefined;
  }
}
