import type { Platform } from '../../oci/image.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { parseReference, type Reference, repositoryOf } from '../../oci/reference.ts';
import { parsePlatform } from '../platform.ts';

/** A name and, beside it, a tag or digest that counts instead of the name's own (`fromImage` and `tag`, or a path and `tag`). */
export function requestedReference(name: string, tag: string | undefined): Reference {
  // "pull --all-tags" of old clients leaves a colon.
  const given = parseReference(name.replace(/:$/, ''));
  if (tag === undefined) return given;
  return parseReference(`${repositoryOf(given)}${tag.includes(':') ? '@' : ':'}${tag}`);
}

/** What is left out is the host's. Undefined for nothing asked. */
export function requestedPlatform(text: string | undefined): Platform | undefined {
  if (text === undefined) return undefined;
  const given = parsePlatform(text);
  const host = hostPlatform();
  if (given.architecture === undefined) return { ...host, os: given.os ?? host.os };
  return { os: given.os ?? host.os, architecture: given.architecture, ...(given.variant === undefined ? {} : { variant: given.variant }) };
}
