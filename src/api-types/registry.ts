import type { ErrorObject } from './own.ts';

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

/** `aux` in the stream of a push. From `Reference` on: with the parameter `slipway` only. Sizes in bytes. */
export type PushAux = {
  Tag: string;
  Digest: string;
  /** Of the manifest. */
  Size: number;
  Reference?: string;
  ImageBytes?: number;
  BytesSent?: number;
  Explanation?: string[];
};

/** `aux` in the stream of a pull, with the parameter `slipway`. */
export type PullAux = { BytesReceived: number };

/** GET /distribution/{name}/json. */
export type DistributionInspect = {
  Descriptor: { mediaType: string; digest: string; size: number };
  Platforms: { architecture: string; os: string; variant?: string; 'os.version'?: string }[];
};

/** A row of GET /images/search. */
export type SearchResult = { star_count: number; is_official: boolean; name: string; is_automated: boolean; description: string };

/** GET /slipway/tags. */
export type TagsAnswer = { repository: string; tags: string[] };

/** Body of POST /slipway/copy; credentials come in `X-Registry-Config`. */
export type CopyBody = { from: string; to: string; platform?: string | undefined; referrers?: boolean | undefined };

export type CopyLine =
  | { kind: 'progress'; status: string; id?: string | undefined; current?: number | undefined; total?: number | undefined }
  | { kind: 'result'; digest: string; bytesSent: number }
  | { kind: 'error'; error: ErrorObject };
