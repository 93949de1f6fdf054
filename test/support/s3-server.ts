import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export type S3Server = {
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly objects: Map<string, Buffer>;
  /** `PUT key`, in the order in which they came and were let in. */
  readonly asked: string[];
  /** Called before a request is answered; true when it answered itself. */
  before: (request: IncomingMessage, response: ServerResponse, key: string) => boolean | Promise<boolean>;
};

/**
 * What S3 is to a client of one bucket in path style: GET with ranges, HEAD, PUT and DELETE, every signature checked as Amazon's "Signature Version 4" describes it, and bodies against the digest that
 * was signed. `conditions`: If-Match and If-None-Match on PUT, as S3 has them since 2024; without, 501 as of servers that lack them.
 */
export async function startS3(t: Pick<TestContext, 'after'>, { conditions = true }: { conditions?: boolean } = {}): Promise<S3Server> {
  const server: S3Server = {
    endpoint: '',
    bucket: 'caches',
    region: 'test-1',
    credentials: { accessKeyId: 'AKTEST', secretAccessKey: 'a secret/with+signs' },
    objects: new Map(),
    asked: [],
    before: () => false,
  };
  const http = createServer(async (request, response) => {
    try {
      const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>));
      const path = decodeURIComponent(new URL(request.url ?? '/', 'http://s3').pathname);
      const key = path.slice(`/${server.bucket}/`.length);
      if (!path.startsWith(`/${server.bucket}/`)) return fail(response, 404, 'NoSuchBucket');
      const wrong = whatIsWrong(request, body, server);
      if (wrong !== undefined) return fail(response, 403, wrong);
      if (await server.before(request, response, key)) return undefined;
      server.asked.push(`${request.method} ${key}`);
      return answer(server, { request, response, body, key, conditions });
    } catch {
      response.destroy();
      return undefined;
    }
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  t.after(() => {
    http.close();
    http.closeAllConnections();
  });
  return Object.assign(server, { endpoint: `http://127.0.0.1:${(http.address() as AddressInfo).port}` });
}

type Asked = { request: IncomingMessage; response: ServerResponse; body: Buffer; key: string; conditions: boolean };

function answer({ objects }: S3Server, { request, response, body, key, conditions }: Asked): unknown {
  const object = objects.get(key);
  const { 'if-match': match, 'if-none-match': noneMatch, range } = request.headers;
  if (request.method === 'PUT') {
    if (!conditions && (match ?? noneMatch) !== undefined) return fail(response, 501, 'NotImplemented');
    if (noneMatch === '*' && object !== undefined) return fail(response, 412, 'PreconditionFailed');
    if (match !== undefined && object === undefined) return fail(response, 404, 'NoSuchKey');
    if (match !== undefined && object !== undefined && match !== etagOf(object)) return fail(response, 412, 'PreconditionFailed');
    objects.set(key, body);
    return response.writeHead(200, { ETag: etagOf(body) }).end();
  }
  if (request.method === 'DELETE') {
    objects.delete(key);
    return response.writeHead(204).end();
  }
  if (object === undefined) return fail(response, 404, 'NoSuchKey', request.method === 'HEAD');
  if (request.method === 'HEAD') return response.writeHead(200, { ETag: etagOf(object), 'Content-Length': object.length }).end();
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
  if (from === undefined) return response.writeHead(200, { ETag: etagOf(object), 'Content-Length': object.length }).end(object);
  const part = object.subarray(Number(from), to === '' || to === undefined ? undefined : Number(to) + 1);
  return response.writeHead(206, { ETag: etagOf(object), 'Content-Length': part.length }).end(part);
}

function etagOf(object: Buffer): string {
  return `"${createHash('md5').update(object).digest('hex')}"`;
}

function fail(response: ServerResponse, status: number, code: string, empty = false): unknown {
  const text = empty ? '' : `<?xml version="1.0"?><Error><Code>${code}</Code></Error>`;
  return response.writeHead(status, { 'Content-Type': 'application/xml' }).end(text);
}

/** The code of what S3 would refuse: docs.aws.amazon.com, "Authenticating Requests: Using the Authorization Header". */
function whatIsWrong(request: IncomingMessage, body: Buffer, { credentials, region }: S3Server): string | undefined {
  const {
    authorization = '',
    'x-amz-content-sha256': said = '',
    'x-amz-date': date = '',
  } = request.headers as Record<string, string | undefined>;
  const [, keyId, scope, signed, signature] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(authorization) ?? [];
  if (keyId === undefined || scope === undefined || signed === undefined) return 'AccessDenied';
  if (keyId !== credentials.accessKeyId) return 'InvalidAccessKeyId';
  const day = date.slice(0, 8);
  if (scope !== `${day}/${region}/s3/aws4_request`) return 'AuthorizationHeaderMalformed';
  if (said !== 'UNSIGNED-PAYLOAD' && said !== createHash('sha256').update(body).digest('hex')) return 'XAmzContentSHA256Mismatch';
  const names = signed.split(';');
  if (!names.includes('host') || !names.includes('x-amz-date')) return 'AccessDenied';
  const url = new URL(request.url ?? '/', 'http://s3');
  const headers = names.map((name) => `${name}:${String(request.headers[name] ?? '').trim()}\n`).join('');
  const query = [...url.searchParams].map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).sort();
  const canonical = [request.method, url.pathname, query.join('&'), headers, signed, said].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', date, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  const hmac = (key: Buffer | string, text: string) => createHmac('sha256', key).update(text).digest();
  const key = [region, 's3', 'aws4_request'].reduce(hmac, hmac(`AWS4${credentials.secretAccessKey}`, day));
  return hmac(key, toSign).toString('hex') === signature ? undefined : 'SignatureDoesNotMatch';
}
