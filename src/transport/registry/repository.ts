import type { Digest } from '../../oci/digest.ts';
import { isDigest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import { isForeignLayer } from '../../oci/media-types.ts';
import { familiar, familiarName, type Reference, repositoryOf } from '../../oci/reference.ts';
import type { HttpAnswer } from './answer.ts';
import type { Authorizer } from './authorizer.ts';
import { type BlobPlace, readBlob } from './blob-reader.ts';
import { EarlyUpload } from './early-upload.ts';
import type { Call, Endpoint } from './endpoint.ts';
import { type Asked, failureOf } from './failures.ts';
import { acceptManifests, headOf, readManifest } from './manifests.ts';
import { pages } from './pages.ts';
import { readParts } from './parts.ts';
import type {
  BegunUpload,
  BlobSource,
  ByteRange,
  FoundManifest,
  GrowingBlob,
  Repository,
  RequestOptions,
  TransferOptions,
} from './port.ts';
import { Referrers } from './referrers.ts';
import { Retries } from './retry.ts';
import { hasBlob, mountBlob, type Session, type UploadPlace, type UploadTarget, uploadBlob } from './upload.ts';

/** A host that has the repository, and who one is there. */
export type Source = { readonly endpoint: Endpoint; readonly as: Authorizer };

const maxTags = 200_000;
const maxMountSources = 3;
/** More than the grammar of tags lets through is left out: it could not be asked for. */
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** One repository over HTTP: of its registry, and for what is pulled, of the mirrors before it. */
export class HttpRepository implements Repository {
  readonly name: string;
  readonly #reference: Pick<Reference, 'domain' | 'path'>;
  readonly #registry: Source;
  /** Mirrors, then the registry. */
  readonly #pulls: readonly Source[];
  /** Where blobs lie that the registry itself must not have. */
  readonly #elsewhere: (host: string) => Source;
  readonly #action: 'pull' | 'push';
  readonly #referrers: Referrers;

  constructor(options: {
    reference: Pick<Reference, 'domain' | 'path'>;
    registry: Source;
    mirrors: readonly Source[];
    elsewhere: (host: string) => Source;
    actions: 'pull' | 'pull,push';
  }) {
    const { reference, registry, mirrors, elsewhere, actions } = options;
    this.name = repositoryOf(reference);
    this.#reference = reference;
    this.#registry = registry;
    this.#pulls = [...mirrors, registry];
    this.#elsewhere = elsewhere;
    this.#action = actions === 'pull' ? 'pull' : 'push';
    this.#referrers = new Referrers(this, {
      pages: (path, signal, check) => pages(registry.endpoint, this.#call(registry, 'GET', path, this.#whole, { signal }), check),
      asked: this.#asked(this.#whole, registry),
    });
  }

  async head(tagOrDigest: string, options: RequestOptions = {}): Promise<(Descriptor & { digest: Digest }) | undefined> {
    const subject = this.#manifest(tagOrDigest);
    return this.#fromAny(options, async (source) => {
      await using answer = await this.#ask(source, 'HEAD', `manifests/${tagOrDigest}`, subject, options);
      if (answer.status === 404) return undefined;
      if (answer.status !== 405 && answer.status !== 200) throw await failureOf(answer, this.#asked(subject, source));
      const found = answer.status === 200 ? headOf(answer, tagOrDigest) : undefined;
      // Registries that leave out what HEAD is for.
      return found ?? (await this.#get(source, tagOrDigest, options)).descriptor;
    });
  }

  async manifest(tagOrDigest: string, options: RequestOptions = {}): Promise<FoundManifest> {
    const found = await this.#fromAny(options, (source) => this.#get(source, tagOrDigest, options));
    if (found === undefined) throw new Error('a source gave nothing and threw nothing');
    return found;
  }

  async putManifest(tagOrDigest: string, bytes: Uint8Array, mediaType: string, options: RequestOptions = {}): Promise<void> {
    const subject = this.#manifest(tagOrDigest);
    const call = {
      ...this.#call(this.#registry, 'PUT', `manifests/${tagOrDigest}`, subject, options),
      headers: { 'Content-Type': mediaType },
      body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    };
    await using answer = await this.#registry.endpoint.call(call);
    if (answer.status < 200 || answer.status >= 300) throw await failureOf(answer, call.asked);
    await answer.discard();
    if (answer.headers['oci-subject'] === undefined) await this.#referrers.note(bytes, mediaType, options);
  }

  async deleteManifest(digest: Digest, options: RequestOptions = {}): Promise<void> {
    const call = this.#call(this.#registry, 'DELETE', `manifests/${digest}`, this.#manifest(digest), options);
    const retries = new Retries(this.#registry.endpoint.retries, options.signal);
    for (let attempt = 1; ; attempt++) {
      try {
        await using answer = await this.#registry.endpoint.attempt({
          ...call,
          scopes: [`repository:${this.#reference.path}:delete,pull,push`],
        });
        // An earlier attempt may have done it though its answer was lost.
        if ((answer.status >= 200 && answer.status < 300) || (answer.status === 404 && attempt > 1)) return;
        throw await failureOf(answer, call.asked);
      } catch (error) {
        await retries.wait(error);
      }
    }
  }

  async hasBlob(digest: Digest, options: RequestOptions = {}): Promise<boolean> {
    return hasBlob({ ...this.#placeForUploads({ kind: 'blob', digest }, options), digest });
  }

  blob(
    descriptor: Pick<Descriptor, 'digest' | 'size' | 'urls'> & { mediaType?: string | undefined },
    options: TransferOptions & { offset?: number } = {},
  ): AsyncIterable<Uint8Array> {
    const places = this.#pulls.map((source) => this.#placeOf(source, descriptor.digest));
    if (descriptor.mediaType !== undefined && isForeignLayer(descriptor.mediaType)) places.push(...this.#foreignPlaces(descriptor));
    return readBlob(places, descriptor, options);
  }

  parts(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    ranges: readonly ByteRange[],
    options: TransferOptions = {},
  ): AsyncIterable<{ offset: number; bytes: Buffer }> {
    const places = this.#pulls.map((source) => this.#placeOf(source, descriptor.digest));
    return readParts(places, descriptor, ranges, options);
  }

  beginUpload(source: GrowingBlob, options: RequestOptions = {}): BegunUpload {
    return new EarlyUpload(this.#placeForUploads(this.#whole, options), source);
  }

  async upload(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    source: BlobSource,
    options: TransferOptions & { mountFrom?: readonly string[] | undefined; begun?: BegunUpload | undefined } = {},
  ): Promise<'present' | 'mounted' | 'uploaded'> {
    const { digest, size } = descriptor;
    const { onBytes, mountFrom = [] } = options;
    const place = this.#placeForUploads({ kind: 'blob', digest }, options);
    const target: UploadTarget = { ...place, digest, size, onBytes };
    const begun = options.begun instanceof EarlyUpload ? options.begun : undefined;
    if (await hasBlob(target)) {
      await begun?.abandon(onBytes);
      return 'present';
    }
    let session = await begun?.finish(onBytes);
    for (const from of session === undefined ? this.#mountSources(mountFrom) : []) {
      const mounted: 'mounted' | Session | undefined = await mountBlob(target, from);
      if (mounted === 'mounted') return 'mounted';
      session = mounted ?? session;
    }
    await uploadBlob(target, source, session);
    return 'uploaded';
  }

  async tags(options: RequestOptions = {}): Promise<string[]> {
    const call = this.#call(this.#registry, 'GET', 'tags/list?n=1000', this.#whole, options);
    const tags = new Set<string>();
    const check = async (answer: HttpAnswer) => {
      if (answer.status !== 200) throw await failureOf(answer, call.asked);
    };
    for await (const page of pages(this.#registry.endpoint, call, check)) {
      for (const tag of Array.isArray(page.tags) ? page.tags : []) {
        if (typeof tag === 'string' && tagPattern.test(tag) && tags.size < maxTags) tags.add(tag);
      }
    }
    return [...tags];
  }

  referrers(digest: Digest, options: RequestOptions & { artifactType?: string | undefined } = {}): Promise<Descriptor[]> {
    return this.#referrers.of(digest, options);
  }

  async #get(source: Source, tagOrDigest: string, options: RequestOptions): Promise<FoundManifest> {
    const call = this.#call(source, 'GET', `manifests/${tagOrDigest}`, this.#manifest(tagOrDigest), options);
    const retries = new Retries(source.endpoint.retries, options.signal);
    for (;;) {
      try {
        await using answer = await source.endpoint.call({ ...call, headers: { Accept: acceptManifests } }, retries);
        return await readManifest(answer, tagOrDigest, call.asked);
      } catch (error) {
        await retries.wait(error);
      }
    }
  }

  /** What the first source gives that gives anything; the registry's answer where none does. */
  async #fromAny<T>({ signal }: RequestOptions, ask: (source: Source) => Promise<T | undefined>): Promise<T | undefined> {
    for (const source of this.#pulls) {
      const isLast = source === this.#registry;
      try {
        const found = await ask(source);
        if (found !== undefined || isLast) return found;
      } catch (error) {
        if (isLast || signal?.aborted) throw error;
      }
    }
    return undefined;
  }

  #placeOf(source: Source, digest: string): BlobPlace {
    const { endpoint, as } = source;
    const subject = { kind: 'blob', digest } as const;
    return {
      endpoint,
      call: { method: 'GET', path: this.#path(`blobs/${digest}`), as, scopes: this.#scopes(source), asked: this.#asked(subject, source) },
    };
  }

  /** Layers that may not be given on are fetched from where their maker keeps them, when the registry has none. */
  #foreignPlaces({ urls = [], digest }: Pick<Descriptor, 'digest' | 'urls'>): BlobPlace[] {
    return urls.flatMap((text) => {
      const url = URL.parse(text);
      if (url === null || !['http:', 'https:'].includes(url.protocol)) return [];
      const source = this.#elsewhere(url.host);
      const place = this.#placeOf(source, digest);
      return [{ ...place, call: { ...place.call, path: url, scopes: [] } }];
    });
  }

  #placeForUploads(subject: Asked['subject'], { signal }: RequestOptions): UploadPlace {
    const source = this.#registry;
    const { endpoint, as } = source;
    return { endpoint, as, path: this.#path('').slice(0, -1), scopes: this.#scopes(source), asked: this.#asked(subject, source), signal };
  }

  /** By path in the registry, or by name (`registry.example:5000/team/web`); not from elsewhere, nor from itself. */
  #mountSources(names: readonly string[]): string[] {
    const { domain, path } = this.#reference;
    const paths = names.map((name) => (name.startsWith(`${domain}/`) ? name.slice(domain.length + 1) : name));
    const here = paths.filter((each) => each !== path && /^[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$/.test(each) && !/^[^/]*[.:][^/]*\//.test(each));
    return [...new Set(here)].slice(0, maxMountSources);
  }

  #ask(source: Source, method: Call['method'], path: string, subject: Asked['subject'], options: RequestOptions): Promise<HttpAnswer> {
    return source.endpoint.call({ ...this.#call(source, method, path, subject, options), headers: { Accept: acceptManifests } });
  }

  #call(source: Source, method: Call['method'], path: string, subject: Asked['subject'], { signal }: RequestOptions): Call {
    const asked = this.#asked(subject, source);
    return { method, path: this.#path(path), as: source.as, scopes: this.#scopes(source), asked, signal };
  }

  #path(rest: string): string {
    return `${this.#reference.path}/${rest}`;
  }

  #scopes({ endpoint }: Source): readonly string[] {
    return [`repository:${endpoint.prefix}${this.#reference.path}:${this.#action === 'pull' ? 'pull' : 'pull,push'}`];
  }

  get #whole(): Asked['subject'] {
    return { kind: 'repository' };
  }

  #manifest(tagOrDigest: string): Asked['subject'] {
    const which = isDigest(tagOrDigest) ? { digest: tagOrDigest } : { tag: tagOrDigest };
    return { kind: 'manifest', reference: familiar({ ...this.#reference, tag: undefined, digest: undefined, ...which }) };
  }

  #asked(subject: Asked['subject'], { endpoint }: Source): Asked {
    return { name: familiarName(this.#reference), host: endpoint.host, action: this.#action, subject };
  }
}
