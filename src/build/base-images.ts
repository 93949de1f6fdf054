import { EngineError } from '../base/errors.ts';
import type { Platform } from '../oci/image.ts';
import { formatPlatform, hostPlatform, platformFits, platformOf } from '../oci/platform.ts';
import { canonical, familiar, parseReference, type Reference, withDefaultTag } from '../oci/reference.ts';
import type { ImageRecord, Store } from '../store/port.ts';
import type { BuildEvent, BuildRequest, ImageFetcher } from './port.ts';

type Options = {
  store: Pick<Store, 'images' | 'uses'>;
  fetcher: ImageFetcher | undefined;
  request: Pick<BuildRequest, 'pull' | 'authFor'>;
  onEvent: (event: BuildEvent) => void;
  signal: AbortSignal;
  /** What the image has to be for; without one, that which is here will do. */
  platform?: Platform | undefined;
};

/** The image that a FROM names: from the store, or, where it is not there or `pull` asks for the newest, from its registry. An image's id is looked for in the store only. */
export async function baseImage(name: string, options: Options): Promise<ImageRecord> {
  const { store, fetcher, request } = options;
  const reference = fetcher === undefined ? undefined : toReference(name);
  const here = reference !== undefined && request.pull === true ? undefined : await findFor(options, name, reference !== undefined);
  const image = here ?? (await fetch(options, reference as Reference));
  await store.uses.touch('image', image.id);
  return image;
}

/** One that is for another platform is none. */
async function findFor({ store, platform }: Options, name: string, mayBeFetched: boolean): Promise<ImageRecord | undefined> {
  const found = await find(store, name, mayBeFetched);
  if (found === undefined || platform === undefined) return found;
  const fitting = await store.images.forPlatform(found, platform);
  if (fitting !== undefined || mayBeFetched) return fitting;
  throw new EngineError(
    'NotFound',
    'PLATFORM_UNKNOWN',
    `image ${name} is for ${formatPlatform(platformOf(found.config))}, not for ${formatPlatform(platform)}`,
  );
}

/** Undefined when there is none and it `mayBeFetched`. */
async function find({ images }: Options['store'], name: string, mayBeFetched: boolean): Promise<ImageRecord | undefined> {
  try {
    return await images.resolve(name);
  } catch (error) {
    if (mayBeFetched && error instanceof EngineError && error.kind === 'NotFound') return undefined;
    throw error;
  }
}

async function fetch({ store, fetcher, request, onEvent, signal, platform }: Options, reference: Reference): Promise<ImageRecord> {
  const foreign = platform === undefined || platformFits(hostPlatform(), platform) ? undefined : platform;
  const suffix = foreign === undefined ? '' : ` for ${formatPlatform(foreign)}`;
  const vertex = `pull ${canonical(reference)}${suffix}`;
  const startedAt = performance.now();
  const name = `pull ${familiar(reference)}${suffix}`;
  onEvent({ kind: 'vertex', vertex, name, state: 'running' });
  try {
    const image = await (fetcher as ImageFetcher).fetch(reference, {
      auth: await request.authFor?.(reference),
      platform: foreign,
      signal,
      onProgress: (status) => onEvent({ kind: 'output', vertex, stream: 'stdout', data: Buffer.from(`${status}\n`) }),
    });
    onEvent({ kind: 'vertex', vertex, name, state: 'done', durationMs: performance.now() - startedAt });
    return image;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    onEvent({ kind: 'vertex', vertex, name, state: 'error', durationMs: performance.now() - startedAt, error: message });
    throw error instanceof EngineError ? await explained(store, reference, error, platform) : error;
  }
}

/** A name that nobody has is more often misspelt than out of reach. */
async function explained(
  { images }: Options['store'],
  reference: Reference,
  cause: EngineError,
  platform: Platform | undefined,
): Promise<EngineError> {
  const here = await find({ images } as Options['store'], canonical(reference), true);
  const message =
    here === undefined
      ? `No such image: ${familiar(reference)}, and it cannot be pulled: ${cause.message}`
      : `${familiar(reference)} cannot be pulled: ${cause.message}`;
  if (here !== undefined && platform !== undefined && !platformFits(platformOf(here.config), platform)) {
    const wanted = `${familiar(reference)} is here for ${formatPlatform(platformOf(here.config))} only, not for ${formatPlatform(platform)}`;
    return new EngineError(cause.kind, cause.code, `${wanted}, and it cannot be pulled: ${cause.message}`, { hint: cause.hint, cause });
  }
  const hint = here === undefined ? cause.hint : 'It is here; without --pull the build takes it as it is.';
  return new EngineError(cause.kind, cause.code, message, { hint, cause });
}

function toReference(name: string): Reference | undefined {
  if (/^(sha256:)?[0-9a-f]{64}$/.test(name)) return undefined;
  try {
    return withDefaultTag(parseReference(name));
  } catch {
    return undefined; // what is wrong with it is said by whoever looks for it in the store
  }
}
