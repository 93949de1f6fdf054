import { EngineError } from '../base/errors.ts';
import { canonical, familiar, parseReference, type Reference, withDefaultTag } from '../oci/reference.ts';
import type { ImageRecord, Store } from '../store/port.ts';
import type { BuildEvent, BuildRequest, ImageFetcher } from './port.ts';

type Options = {
  store: Pick<Store, 'images' | 'uses'>;
  fetcher: ImageFetcher | undefined;
  request: Pick<BuildRequest, 'pull' | 'authFor'>;
  onEvent: (event: BuildEvent) => void;
  signal: AbortSignal;
};

/** The image that a FROM names: from the store, or, where it is not there or `pull` asks for the newest, from its registry. An image's id is looked for in the store only. */
export async function baseImage(name: string, options: Options): Promise<ImageRecord> {
  const { store, fetcher, request } = options;
  const reference = fetcher === undefined ? undefined : toReference(name);
  const here = reference !== undefined && request.pull === true ? undefined : await find(store, name, reference !== undefined);
  const image = here ?? (await fetch(options, reference as Reference));
  await store.uses.touch('image', image.id);
  return image;
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

async function fetch({ store, fetcher, request, onEvent, signal }: Options, reference: Reference): Promise<ImageRecord> {
  const vertex = `pull ${canonical(reference)}`;
  const startedAt = performance.now();
  const name = `pull ${familiar(reference)}`;
  onEvent({ kind: 'vertex', vertex, name, state: 'running' });
  try {
    const image = await (fetcher as ImageFetcher).fetch(reference, {
      auth: await request.authFor?.(reference),
      signal,
      onProgress: (status) => onEvent({ kind: 'output', vertex, stream: 'stdout', data: Buffer.from(`${status}\n`) }),
    });
    onEvent({ kind: 'vertex', vertex, name, state: 'done', durationMs: performance.now() - startedAt });
    return image;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    onEvent({ kind: 'vertex', vertex, name, state: 'error', durationMs: performance.now() - startedAt, error: message });
    throw error instanceof EngineError ? await explained(store, reference, error) : error;
  }
}

/** A name that nobody has is more often misspelt than out of reach. */
async function explained({ images }: Options['store'], reference: Reference, cause: EngineError): Promise<EngineError> {
  const here = await find({ images } as Options['store'], canonical(reference), true);
  const message =
    here === undefined
      ? `No such image: ${familiar(reference)}, and it cannot be pulled: ${cause.message}`
      : `${familiar(reference)} cannot be pulled: ${cause.message}`;
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
