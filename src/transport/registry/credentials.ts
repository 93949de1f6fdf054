import type { AuthConfig } from '../../api-types/registry.ts';

export type Credentials = {
  readonly username: string;
  readonly password: string;
  /** In place of a password, for the token server. */
  readonly refreshToken: string;
  /** A bearer token for the registry itself. */
  readonly registryToken: string;
};

export function credentialsOf({
  username = '',
  password = '',
  auth = '',
  identitytoken = '',
  registrytoken = '',
}: AuthConfig): Credentials {
  const rest = { refreshToken: identitytoken, registryToken: registrytoken };
  if (username !== '' || auth === '') return { username, password, ...rest };
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) return { username, password, ...rest };
  return { username: text.slice(0, colon), password: text.slice(colon + 1), ...rest };
}

export function basicHeader({ username, password }: Credentials): string | undefined {
  if (username === '' || password === '') return undefined;
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
