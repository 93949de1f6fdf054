import { apiVersion, minApiVersion } from '../api-types/system.ts';
import { invalid } from './errors.ts';

const versionPrefix = /^\/v(\d{1,3})\.(\d{1,3})(?=\/)/;

export function stripVersion(url: string): string {
  return url.replace(versionPrefix, '');
}

/** The version that a request's address names: the newest when it names none. */
export function versionOf(url: string): string {
  const match = versionPrefix.exec(url);
  return match === null ? apiVersion : `${match[1]}.${match[2]}`;
}

/** Throws InvalidArgument, in Docker's words, outside the range that the daemon speaks. */
export function checkVersion(url: string): void {
  const asked = versionOf(url);
  if (compareVersions(asked, apiVersion) > 0) {
    throw invalid('API_VERSION_UNSUPPORTED', `client version ${asked} is too new. Maximum supported API version is ${apiVersion}`);
  }
  if (compareVersions(asked, minApiVersion) < 0) {
    throw invalid(
      'API_VERSION_UNSUPPORTED',
      `client version ${asked} is too old. Minimum supported API version is ${minApiVersion}, please upgrade your client to a newer version`,
    );
  }
}

export function compareVersions(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map(Number);
  const [bMajor = 0, bMinor = 0] = b.split('.').map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}
