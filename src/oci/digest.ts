import { createHash, type Hash } from 'node:crypto';
import { EngineError } from '../base/errors.ts';

/** `sha256:` and 64 lower-case hex digits (OCI image specification, descriptor.md, "Digests"). */
export type Digest = string & { readonly __digest: true };

/** 64 lower-case hex digits of a SHA-256: names objects, directory nodes and trees inside the store. */
export type Hex = string & { readonly __hex: true };

const digestPattern = /^sha256:[0-9a-f]{64}$/;
const hexPattern = /^[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return digestPattern.test(text);
}

export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new EngineError(
    'InvalidArgument',
    'DIGEST_INVALID',
    `"${text.slice(0, 100)}" is not a digest: expected sha256: and 64 lower-case hex digits`,
  );
}

export function isHex(text: string): text is Hex {
  return hexPattern.test(text);
}

export function parseHex(text: string): Hex {
  if (isHex(text)) return text;
  throw new EngineError('InvalidArgument', 'DIGEST_INVALID', `"${text.slice(0, 100)}" is not 64 lower-case hex digits`);
}

export function hexOf(digest: Digest): Hex {
  return digest.slice(7) as Hex;
}

export function digestOf(hex: Hex): Digest {
  return `sha256:${hex}` as Digest;
}

export function sha256(bytes: Uint8Array | string): Hex {
  return createHash('sha256').update(bytes).digest('hex') as Hex;
}

/** A running SHA-256 for streams: `update` as bytes pass, `digest('hex') as Hex` at the end. */
export function newHash(): Hash {
  return createHash('sha256');
}
