import { EngineError } from '../base/errors.ts';
import type { Platform } from '../oci/image.ts';
import { formatPlatform, parsePlatform } from '../oci/platform.ts';
import type { BuildEvent } from './port.ts';

/** One of the images that a build makes. Without a platform it is this host's, of whatever images are here. `label` is set where there are several. */
export type Target = { readonly platform: Platform | undefined; readonly label: string | undefined };

const mostPlatforms = 32;

/** What `--platform` asks for: names with commas between them. InvalidArgument `PLATFORM_INVALID`, `PLATFORM_TWICE`. */
export function targetsOf(text: string | undefined): readonly Target[] {
  const names = (text ?? '').split(',').filter((name) => name !== '');
  if (names.length === 0) return [{ platform: undefined, label: undefined }];
  if (names.length > mostPlatforms) {
    throw new EngineError(
      'InvalidArgument',
      'PLATFORM_INVALID',
      `${names.length} platforms are more than the ${mostPlatforms} of one build`,
    );
  }
  const platforms = names.map((name) => parsePlatform(name.trim()));
  const labels = platforms.map(formatPlatform);
  const twice = labels.find((label, index) => labels.indexOf(label) !== index);
  if (twice !== undefined) throw new EngineError('InvalidArgument', 'PLATFORM_TWICE', `the platform ${twice} is named twice`);
  return platforms.map((platform, index) => ({ platform, label: platforms.length === 1 ? undefined : labels[index] }));
}

/** The events of one of several targets: `[linux/arm64 build 2/5] RUN make`, as BuildKit names them. */
export function labelled(onEvent: (event: BuildEvent) => void, label: string | undefined): (event: BuildEvent) => void {
  if (label === undefined) return onEvent;
  const name = (text: string) => (text.startsWith('[') ? `[${label} ${text.slice(1)}` : `[${label}] ${text}`);
  return (event) => {
    if (event.kind === 'vertex') onEvent({ ...event, vertex: `${label} ${event.vertex}`, name: name(event.name) });
    else if (event.kind === 'output') onEvent({ ...event, vertex: `${label} ${event.vertex}` });
    else onEvent(event);
  };
}

/** Runs all at once. The first that fails has the others cancelled, and is what is thrown once they have ended. */
export async function allOrNone<T, R>(
  items: readonly T[],
  signal: AbortSignal,
  run: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const [only] = items;
  if (items.length === 1) return [await run(only as T, signal)];
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  let first: { error: unknown } | undefined;
  const settled = await Promise.allSettled(
    items.map((item) =>
      run(item, stop).catch((error: unknown) => {
        first ??= { error };
        failed.abort(error);
        throw error;
      }),
    ),
  );
  if (first !== undefined) throw first.error;
  return settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
}
