/** Body of POST /auth, and what `X-Registry-Auth` holds as base64url of JSON. */
export type AuthConfig = {
  username?: string;
  password?: string;
  /** base64 of `username:password`. */
  auth?: string;
  email?: string;
  serveraddress?: string;
  /** A refresh token, in place of a password. */
  identitytoken?: string;
  /** A bearer token for the registry itself. */
  registrytoken?: string;
};

export type AuthResponse = { Status: string; IdentityToken: string };
