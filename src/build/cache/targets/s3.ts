import { openAsBlob } from 'node:fs';
import { AwsClient } from 'aws4fetch';
import { EngineError } from '../../../base/errors.ts';
import { hexOf, sha256 } from '../../../oci/digest.ts';
import type { Descriptor } from '../../../oci/image.ts';
import type { CacheTarget, TargetBlob, TargetManifest, TargetOptions } from './port.ts';
import { spansOf } from './spans.ts';

export type S3Options = {
  readonly bucket: string;
  /** Before every key, as it is. */
  readonly prefix: string;
  /** Caches of several names lie beside each other. */
  readonly name: string;
  readonly region: string;
  /** `https://host[:port][/path]`; Amazon's when not given. */
  readonly endpoint?: string | undefined;
  /** The bucket is in the path and not in the host's name. */
  readonly pathStyle?: boolean | undefined;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string | undefined };
};

type Call = {
  method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
  headers?: Record<string, string>;
  body?: Blob | Uint8Array<ArrayBuffer>;
  signal?: AbortSignal | undefined;
};

const maxManifestBytes = 4 << 20;
const maxAtOnce = 6;
/** What a request may fail with before it is given up, and how often it is tried. */
const retries = 3;

/** A cache in a bucket: `<prefix><name>/manifest.json`, `<prefix><name>/blobs/sha256/<hex>`. Manifests are swapped by If-Match where the server knows that. */
export class S3Target implements CacheTarget {
  readonly name: string;
  readonly #client: AwsClient;
  readonly #base: URL;

  constructor(options: S3Options) {
    const { bucket, prefix, name, region, credentials } = options;
    this.name = `s3://${bucket}/${prefix}${name}`;
    this.#base = baseOf(options);
    this.#client = new AwsClient({
      accessKeyId: credentials.accessKeyId,
      secretAccessKey: credentials.secretAccessKey,
      ...(credentials.sessionToken === undefined ? {} : { sessionToken: credentials.sessionToken }),
      service: 's3',
      region,
      retries,
    });
  }

  async read({ signal }: TargetOptions): Promise<TargetManifest | undefined> {
    const answer = await this.#call('manifest.json', { method: 'GET', signal }, [200, 404]);
    if (answer.status === 404) return discard(answer);
    const bytes = Buffer.concat(await Array.fromAsync(limited(answer, maxManifestBytes)));
    // A server without ETags has no versions; its content is one.
    return { bytes, version: answer.headers.get('etag') ?? sha256(bytes) };
  }

  async write(manifest: Buffer, { version, dropped }: Parameters<CacheTarget['write']>[1], { signal }: TargetOptions): Promise<boolean> {
    const condition: Record<string, string> = version === undefined ? { 'If-None-Match': '*' } : { 'If-Match': version };
    const put = (headers: Record<string, string>) => {
      const init = { 'Content-Type': 'application/vnd.oci.image.manifest.v1+json', 'X-Amz-Content-Sha256': sha256(manifest), ...headers };
      return this.#call(
        'manifest.json',
        { method: 'PUT', headers: init, body: new Uint8Array(manifest), signal },
        [200, 404, 409, 412, 501],
      );
    };
    let answer = await put(condition);
    if (answer.status === 501) {
      // Conditions are not implemented there: what is there now is compared instead.
      await discard(answer);
      if ((await this.read({ signal }))?.version !== version) return false;
      answer = await put({});
    }
    await discard(answer);
    if (answer.status !== 200) return false;
    for (const { digest } of dropped) await this.#call(blobKey(digest), { method: 'DELETE', signal }, [200, 204, 404]).then(discard);
    return true;
  }

  async has({ digest, size }: TargetBlob, { signal }: TargetOptions): Promise<boolean> {
    const answer = await this.#call(blobKey(digest), { method: 'HEAD', signal }, [200, 404]);
    await discard(answer);
    return answer.status === 200 && Number(answer.headers.get('content-length')) === size;
  }

  async upload({ digest }: TargetBlob, file: string, { signal }: TargetOptions): Promise<void> {
    // Read as it goes out. The server compares the digest.
    const body = await openAsBlob(file);
    const headers = { 'X-Amz-Content-Sha256': hexOf(digest), 'Content-Type': 'application/octet-stream' };
    await discard(await this.#call(blobKey(digest), { method: 'PUT', headers, body, signal }, [200]));
  }

  async *blob(
    { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
    { signal, onBytes, offset = 0 }: Parameters<CacheTarget['blob']>[1] = {},
  ) {
    const headers: Record<string, string> = offset === 0 ? {} : { Range: `bytes=${offset}-` };
    const answer = await this.#call(blobKey(digest), { method: 'GET', headers, signal }, [offset === 0 ? 200 : 206]);
    for await (const bytes of limited(answer, size - offset)) {
      onBytes?.(bytes.length);
      yield bytes;
    }
  }

  async *parts(
    { digest }: Pick<Descriptor, 'digest'>,
    ranges: Parameters<CacheTarget['parts']>[1],
    { signal, onBytes }: Parameters<CacheTarget['parts']>[2] = {},
  ) {
    const stop = new AbortController();
    const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
    const spans = spansOf(ranges);
    const running: Promise<Buffer>[] = [];
    const begin = (index: number) => {
      const span = spans[index];
      if (span === undefined) return;
      const reading = this.#range(digest, span, either, onBytes);
      // Told when its turn comes.
      reading.catch(() => undefined);
      running[index] = reading;
    };
    try {
      for (let index = 0; index < maxAtOnce; index++) begin(index);
      for (const [index, span] of spans.entries()) {
        const bytes = (await running[index]) as Buffer;
        delete running[index];
        begin(index + maxAtOnce);
        for (const { offset, length } of span.ranges)
          yield { offset, bytes: bytes.subarray(offset - span.start, offset - span.start + length) };
      }
    } finally {
      stop.abort();
    }
  }

  async #range(
    digest: string,
    { start, end }: { start: number; end: number },
    signal: AbortSignal,
    onBytes?: (count: number) => void,
  ): Promise<Buffer> {
    const answer = await this.#call(blobKey(digest), { method: 'GET', headers: { Range: `bytes=${start}-${end - 1}` }, signal }, [206]);
    const pieces: Buffer[] = [];
    for await (const bytes of limited(answer, end - start)) {
      onBytes?.(bytes.length);
      pieces.push(bytes);
    }
    const bytes = Buffer.concat(pieces);
    if (bytes.length !== end - start) throw unavailable(`${this.name} ended within ${digest}`);
    return bytes;
  }

  async #call(key: string, { signal, headers = {}, ...init }: Call, wanted: readonly number[]): Promise<Response> {
    const url = new URL(this.#base);
    url.pathname += key;
    let answer: Response;
    try {
      answer = await this.#client.fetch(url.href, { ...init, headers, redirect: 'error', ...(signal === undefined ? {} : { signal }) });
    } catch (cause) {
      signal?.throwIfAborted();
      throw unavailable(`${this.name} cannot be reached: ${reasonOf(cause)}`, cause);
    }
    if (wanted.includes(answer.status)) return answer;
    const code = /<Code>([\w.]{1,80})<\/Code>/.exec(await head(answer))?.[1] ?? `status ${answer.status}`;
    throw failure(answer.status, `${this.name} answered ${init.method} ${key} with ${code}`);
  }
}

function baseOf({ bucket, prefix, name, region, endpoint, pathStyle }: S3Options): URL {
  const url = new URL(endpoint ?? `https://s3.${region}.amazonaws.com`);
  const isAddress = /^\[|^[\d.]+$|^localhost$/.test(url.hostname);
  const inPath = pathStyle ?? isAddress;
  if (!inPath) url.hostname = `${bucket}.${url.hostname}`;
  url.pathname = `${url.pathname.replace(/\/$/, '')}/${encodeKey(`${inPath ? `${bucket}/` : ''}${prefix}${name}/`)}`;
  return url;
}

/** As it is signed (RFC 3986), so that no two parties disagree about a `+`. */
function encodeKey(key: string): string {
  return encodeURIComponent(key)
    .replace(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%2F', '/');
}

function blobKey(digest: string): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`;
}

async function* limited(answer: Response, most: number): AsyncGenerator<Buffer> {
  let total = 0;
  for await (const bytes of answer.body ?? []) {
    total += bytes.length;
    if (total > most) throw new EngineError('DataLoss', 'CACHE_DAMAGED', `${answer.url} has more than ${most} bytes`);
    yield Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}

async function discard(answer: Response): Promise<undefined> {
  await answer.body?.cancel();
}

/** The beginning of an error's text. */
async function head(answer: Response): Promise<string> {
  let text = '';
  for await (const bytes of answer.body ?? []) {
    text += Buffer.from(bytes).toString('utf8');
    if (text.length > 4096) break;
  }
  return text;
}

function failure(status: number, message: string): EngineError {
  if (status === 401 || status === 403) {
    return new EngineError('Denied', 'CACHE_DENIED', message, { hint: 'Check access_key_id, secret_access_key and the bucket’s policy.' });
  }
  if (status === 404) return new EngineError('NotFound', 'CACHE_BLOB_MISSING', message);
  return unavailable(message);
}

function unavailable(message: string, cause?: unknown): EngineError {
  return new EngineError('Unavailable', 'CACHE_UNAVAILABLE', message, { cause });
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
