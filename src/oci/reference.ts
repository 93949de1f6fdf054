import { EngineError } from '../base/errors.ts';
import { type Digest, isDigest } from './digest.ts';

/**
 * A parsed image name, `domain/path[:tag][@digest]` (distribution's reference grammar, github.com/distribution/reference). Docker's
 * shorthands are resolved: `web` is `docker.io` + `library/web`. A tag is there only when one was written; see `withDefaultTag`.
 */
export type Reference = {
  readonly domain: string;
  readonly path: string;
  readonly tag?: string | undefined;
  readonly digest?: Digest | undefined;
};

const defaultDomain = 'docker.io';
const legacyDefaultDomain = 'index.docker.io';
const officialPrefix = 'library/';
const defaultTag = 'latest';

/** The whole text; more than any sound reference (domain 260 + path 255 + tag 128 + digest 71). */
const maxTextLength = 1024;
const maxPathLength = 255;
const maxTagLength = 128;
const maxDomainLength = 260;

const hostPattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*$/;
const ipv6Pattern = /^\[[a-fA-F0-9:]+\]$/;
const componentPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/**
 * Parses a name as people write it. Throws InvalidArgument `REFERENCE_INVALID` that says which part is wrong and why.
 * A bare 64-digit hex string is refused: it would be taken for an image ID.
 */
export function parseReference(text: string): Reference {
  if (text === '') throw invalid(text, 'it is empty');
  if (text.length > maxTextLength) throw invalid(text, `it has ${text.length} characters, at most ${maxTextLength} are allowed`);
  const { name, tag, digest } = splitSuffixes(text);
  const { domain, path } = splitDomain(text, name);
  checkDomain(text, domain);
  checkPath(text, path);
  return { domain, path, ...(tag === undefined ? {} : { tag }), ...(digest === undefined ? {} : { digest }) };
}

/** The full form, `docker.io/library/web:latest`. Says what the reference holds and adds no tag. `parseReference` reads it back. */
export function canonical(reference: Reference): string {
  return `${reference.domain}/${reference.path}${suffix(reference)}`;
}

/** The short form that Docker shows: `web:latest`, `ghcr.io/acme/web:2`. `parseReference` reads it back. */
export function familiar(reference: Reference): string {
  return `${familiarName(reference)}${suffix(reference)}`;
}

/** The repository in its short form, without tag and digest: `web`. */
export function familiarName(reference: Reference): string {
  const { domain, path } = reference;
  if (domain !== defaultDomain) return `${domain}/${path}`;
  if (path.startsWith(officialPrefix)) {
    const short = path.slice(officialPrefix.length);
    // `library/a/b` must keep its prefix: `a/b` alone would be another repository. So must what would be taken for an image ID.
    return short.includes('/') || isImageIdLike(short) ? path : short;
  }
  const first = path.slice(0, path.indexOf('/') + 1);
  // `a.b/web` alone would name a registry `a.b`.
  return first.includes('.') || first === 'localhost/' ? `${domain}/${path}` : path;
}

/** The repository in its full form, without tag and digest: `docker.io/library/web`. */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** Adds `:latest` when there is neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: defaultTag } : reference;
}

/** Whether a name that `canonical` wrote says a tag: others are those of what was pulled or pushed, by digest. */
export function isTag(name: string): boolean {
  return !name.includes('@');
}

function suffix(reference: Reference): string {
  return (reference.tag === undefined ? '' : `:${reference.tag}`) + (reference.digest === undefined ? '' : `@${reference.digest}`);
}

function splitSuffixes(text: string): { name: string; tag: string | undefined; digest: Digest | undefined } {
  const at = text.indexOf('@');
  const beforeDigest = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : checkDigest(text, text.slice(at + 1));
  // A colon before the last slash belongs to the domain's port.
  const colon = beforeDigest.lastIndexOf(':');
  if (colon <= beforeDigest.lastIndexOf('/')) return { name: beforeDigest, tag: undefined, digest };
  const tag = checkTag(text, beforeDigest.slice(colon + 1));
  return { name: beforeDigest.slice(0, colon), tag, digest };
}

function splitDomain(text: string, name: string): { domain: string; path: string } {
  if (name === '') throw invalid(text, 'the repository name is missing');
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isDomain = slash >= 0 && (/[.:[]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  if (!isDomain) {
    if (slash === 0) throw invalid(text, 'it begins with a slash');
    if (isImageIdLike(name)) throw invalid(text, '64 hex digits are an image ID and cannot be a name');
    return { domain: defaultDomain, path: slash < 0 ? officialPrefix + name : name };
  }
  const path = name.slice(slash + 1);
  if (first !== defaultDomain && first !== legacyDefaultDomain) return { domain: first, path };
  return { domain: defaultDomain, path: path.includes('/') ? path : officialPrefix + path };
}

function checkDomain(text: string, domain: string): void {
  if (domain.length > maxDomainLength) {
    throw invalid(text, `the domain has ${domain.length} characters, at most ${maxDomainLength} are allowed`);
  }
  const bracket = domain.lastIndexOf(']');
  const colon = domain.indexOf(':', bracket + 1);
  const host = colon < 0 ? domain : domain.slice(0, colon);
  if (colon >= 0 && !/^[0-9]{1,5}$/.test(domain.slice(colon + 1))) {
    throw invalid(text, `"${shorten(domain.slice(colon + 1))}" in the domain "${shorten(domain)}" is not a port number`);
  }
  if (!hostPattern.test(host) && !ipv6Pattern.test(host)) {
    throw invalid(text, `"${shorten(host)}" is not a host name or address (letters, digits, "-" and "."; IPv6 in brackets)`);
  }
}

function checkPath(text: string, path: string): void {
  const shown = path.startsWith(officialPrefix) && !text.includes(officialPrefix) ? path.slice(officialPrefix.length) : path;
  if (path === '' || path === officialPrefix) throw invalid(text, 'the repository name is missing');
  if (path.length > maxPathLength) {
    throw invalid(text, `the repository name has ${path.length} characters, at most ${maxPathLength} are allowed`);
  }
  for (const component of path.split('/')) {
    if (componentPattern.test(component)) continue;
    if (component === '') throw invalid(text, `the repository name "${shorten(shown)}" has an empty part between slashes`);
    if (component !== component.toLowerCase()) throw invalid(text, `the repository name "${shorten(shown)}" must be in lower case`);
    throw invalid(
      text,
      `"${shorten(component)}" in the repository name is not allowed: use lower-case letters and digits, separated by ".", "_", "__" or "-"`,
    );
  }
}

function checkTag(text: string, tag: string): string {
  if (tag === '') throw invalid(text, 'the tag after ":" is empty');
  if (tag.length > maxTagLength) throw invalid(text, `the tag has ${tag.length} characters, at most ${maxTagLength} are allowed`);
  if (!tagPattern.test(tag)) {
    throw invalid(text, `the tag "${shorten(tag)}" may have letters, digits, "_", "." and "-" only, and must not begin with "." or "-"`);
  }
  return tag;
}

function checkDigest(text: string, digest: string): Digest {
  if (isDigest(digest)) return digest;
  const algorithm = /^([A-Za-z0-9.+_-]+):/.exec(digest)?.[1];
  if (algorithm !== undefined && algorithm !== 'sha256')
    throw invalid(text, `the digest algorithm "${shorten(algorithm)}" is not supported`);
  throw invalid(text, 'the digest after "@" must be sha256: and 64 lower-case hex digits');
}

function isImageIdLike(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name);
}

function shorten(part: string): string {
  return part.length > 80 ? `${part.slice(0, 77)}...` : part;
}

function invalid(text: string, why: string): EngineError {
  return new EngineError('InvalidArgument', 'REFERENCE_INVALID', `"${shorten(text)}" is not an image name: ${why}`, {
    hint: 'An image name reads [registry.example[:port]/]repository[:tag][@sha256:digest], for example ghcr.io/acme/web:2.',
  });
}
