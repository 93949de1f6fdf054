import { apiVersion, minApiVersion } from '../api-types/system.ts';
import { EngineError } from '../base/errors.ts';

const versionPrefix = /^\/v(\d[\d.]{0,31})(?=\/)/;

/** What `stripVersion` takes away; '' where there is none. */
export function versionPrefixOf(url: string): string {
  return versionPrefix.exec(url)?.[0] ?? '';
}

export function stripVersion(url: string): string {
  return url.replace(versionPrefix, '');
}

/** The version that a request's address names: the newest when it names none. */
export function versionOf(url: string): string {
  return versionPrefix.exec(url)?.[1] ?? apiVersion;
}

/** Whether the request speaks `version` or a newer one. Changes of the API are asked for by the version that brought them. */
export function speaks(request: { originalUrl: string }, version: string): boolean {
  return compareVersions(versionOf(request.originalUrl), version) >= 0;
}

/** Throws InvalidArgument `API_VERSION_UNSUPPORTED`, in Docker's words, outside the range that the daemon speaks. */
export function checkVersion(url: string): void {
  const asked = versionOf(url);
  if (compareVersions(asked, apiVersion) > 0) {
    throw new VersionUnsupported(`client version ${asked} is too new. Maximum supported API version is ${apiVersion}`, false);
  }
  if (compareVersions(asked, minApiVersion) < 0) {
    const message = `client version ${asked} is too old. Minimum supported API version is ${minApiVersion}, please upgrade your client to a newer version`;
    throw new VersionUnsupported(message, true);
  }
}

/** `old`: the client is from before errors were JSON, and shows what it gets as it is. */
export class VersionUnsupported extends EngineError {
  readonly old: boolean;
  constructor(message: string, old: boolean) {
    super('InvalidArgument', 'API_VERSION_UNSUPPORTED', message);
    this.old = old;
  }
}

/** By number, part by part; what is missing counts as 0. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
