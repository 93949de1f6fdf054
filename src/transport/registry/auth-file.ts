import { readFile } from 'node:fs/promises';
import { EngineError } from '../../base/errors.ts';
import { registryAddress } from './address.ts';
import { type Credentials, credentialsOf } from './credentials.ts';

const anonymous: Credentials = { username: '', password: '', refreshToken: '', registryToken: '' };

/**
 * What a file in the form of Docker's config.json (`{"auths": {"HOST": {"auth": "…"}}}`) has for a host: `auth`, `username` and `password`, or `identitytoken`. Programs that keep credentials are not
 * asked: they answer people, and an engine is none. Anonymous where it has nothing. Unavailable `REGISTRY_AUTH_FILE_UNREADABLE` names the file, and never what is in it.
 */
export async function credentialsFromFile(file: string, host: string): Promise<Credentials> {
  const entries = Object.entries(await authsIn(file));
  const found = entries.find(([name]) => hostOf(name) === host)?.[1];
  if (typeof found !== 'object' || found === null) return anonymous;
  const text = (key: string) => (key in found ? String((found as Record<string, unknown>)[key]) : '');
  return credentialsOf({
    username: text('username'),
    password: text('password'),
    auth: text('auth'),
    identitytoken: text('identitytoken'),
  });
}

async function authsIn(file: string): Promise<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(await readFile(file, 'utf8'));
    const auths = typeof json === 'object' && json !== null && 'auths' in json ? json.auths : {};
    if (typeof auths === 'object' && auths !== null) return auths as Record<string, unknown>;
  } catch (cause) {
    // A parser's message quotes what it read.
    const why = cause instanceof SyntaxError ? 'it is no JSON' : cause instanceof Error ? cause.message : String(cause);
    throw unreadable(file, why);
  }
  throw unreadable(file, 'its "auths" is no object');
}

function hostOf(name: string): string | undefined {
  try {
    return registryAddress(name).host;
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

function unreadable(file: string, why: string): EngineError {
  return new EngineError('Unavailable', 'REGISTRY_AUTH_FILE_UNREADABLE', `the credentials in ${file} cannot be read: ${why}`, {
    hint: 'It is written as Docker writes ~/.docker/config.json: {"auths": {"mirror.example": {"auth": "…"}}}.',
  });
}
