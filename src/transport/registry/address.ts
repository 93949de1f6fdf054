import { isIP } from 'node:net';
import { EngineError } from '../../base/errors.ts';

/** Where a registry answers. `insecure`: on this host itself, where certificates need not be real and HTTP will do, as in Docker. */
export type RegistryAddress = { host: string; insecure: boolean };

/** Names under which Docker Hub is known, and the one under which its registry answers. */
const hubNames = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];
const hubHost = 'registry-1.docker.io';

/** Reads `serveraddress` of credentials: a host with or without port, scheme and path; '' is Docker Hub. InvalidArgument `REGISTRY_ADDRESS_INVALID`. */
export function registryAddress(text: string): RegistryAddress {
  if (text === '') return { host: hubHost, insecure: false };
  const url = URL.parse(/^https?:\/\//i.test(text) ? text : `https://${text}`);
  if (url === null || url.hostname === '' || url.username !== '' || url.password !== '') {
    throw new EngineError('InvalidArgument', 'REGISTRY_ADDRESS_INVALID', `unable to parse server address: "${text.slice(0, 200)}"`, {
      hint: 'A registry is named by its host, with a port where it is not 443: registry.example:5000.',
    });
  }
  if (hubNames.includes(url.hostname)) return { host: hubHost, insecure: false };
  return { host: url.host, insecure: isLoopback(url.hostname) };
}

/** As URL spells it: IPv6 in brackets. */
export function isLoopback(hostname: string): boolean {
  const bare = hostname.replace(/^\[(.*)\]$/, '$1');
  if (bare === 'localhost' || bare === '::1') return true;
  return isIP(bare) === 4 && bare.startsWith('127.');
}
