import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { versionPrefixOf } from '../version.ts';
import type { RequestFacts } from './port.ts';

/** Credentials are nobody's business but the registry's; Docker leaves them out too. */
const secretHeaders = ['authorization', 'x-registry-auth', 'x-registry-config'];

export function describeRequest(request: FastifyRequest, body: Buffer | undefined): RequestFacts {
  const certificate = peerCertificate(request.raw);
  return {
    user: certificate?.commonName,
    method: request.method,
    uri: routedUri(request),
    headers: headersOf(request.headers),
    // A password goes to the registry alone.
    body: isSecret(request) ? undefined : body,
    peerCertificatesDer: certificate === undefined ? [] : [certificate.der],
  };
}

export function isSecret(request: FastifyRequest): boolean {
  return request.routeOptions.url === '/auth';
}

/**
 * The address as the router understood it, however it was spelled: one slash where there were more, nothing escaped that needs no escape, no host, no
 * fragment. What a plugin matches is then what is done. An address without a route does nothing, and is told as it came.
 */
export function routedUri(request: FastifyRequest): string {
  const route = request.routeOptions.url;
  if (request.is404 || route === undefined) return request.originalUrl;
  const params = request.params as Record<string, string>;
  const path = route.replace(/:(\w+)|\*/g, (part, name?: string) =>
    name === undefined ? escapePath(params['*'] ?? '').replaceAll('%2F', '/') : escapePath(params[name] ?? part),
  );
  // The router ends a path at a fragment's sign too.
  const [, query] = /[?#]([\s\S]*)$/.exec(request.url) ?? [];
  return `${versionPrefixOf(request.originalUrl)}${path}${query === undefined ? '' : `?${query}`}`;
}

/** As Go's clients write a path. */
function escapePath(text: string): string {
  return encodeURIComponent(text).replace(/%(?:3A|40|2B|2C|3B|3D|26|24)/g, (code) =>
    String.fromCharCode(Number.parseInt(code.slice(1), 16)),
  );
}

/** Names as Go spells them (`X-Meta-File`). What came twice is as the routes see it. */
export function headersOf(headers: Record<string, string | number | readonly string[] | undefined>): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || secretHeaders.includes(name.toLowerCase()) || name.toLowerCase() === 'host') continue;
    result[name.toLowerCase().replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase())] = Array.isArray(value)
      ? (value.at(-1) ?? '')
      : String(value);
  }
  return result;
}

/** Only a certificate that the handshake has checked gets this far (server.ts). */
function peerCertificate({ socket }: IncomingMessage): { commonName: string | undefined; der: Buffer } | undefined {
  if (!('getPeerCertificate' in socket)) return undefined;
  const { subject, raw } = (socket as TLSSocket).getPeerCertificate();
  if (raw === undefined) return undefined;
  const names: string | string[] | undefined = subject?.CN;
  // Where there are several, the last one, as in Go.
  return { commonName: Array.isArray(names) ? names.at(-1) : names, der: raw };
}
