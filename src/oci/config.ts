import { type Digest, parseDigest } from './digest.ts';
import { JsonDocument } from './document.ts';
import type { Healthcheck, HistoryEntry, ImageConfig, RunConfig } from './image.ts';
import { hostPlatform } from './platform.ts';

/** What a config may measure. Real ones are a few kB; the largest seen in the wild (thousands of labels) stay below 1 MB. */
export const maxConfigBytes = 8 * 1024 * 1024;
const maxLayers = 10_000;

/** The PATH that Docker gives to containers of images without one. */
export const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A config for an image made here, with nothing in it but the platform (this host's, unless given). */
export function emptyImageConfig(platform = hostPlatform()): ImageConfig {
  return {
    architecture: platform.architecture,
    os: platform.os,
    ...(platform.variant === undefined ? {} : { variant: platform.variant }),
    config: {},
  };
}

/**
 * Parses an image configuration (image-spec config.md; Docker's v1 image JSON). Fields are checked for type and size, null means absent,
 * and fields that the engine does not know are left out. Throws InvalidArgument `DOCUMENT_INVALID` naming the field.
 */
export function parseImageConfig(bytes: Uint8Array | string, what = 'the image config'): ImageConfig {
  const document = new JsonDocument(bytes, what, maxConfigBytes);
  const { root } = document;
  const text = (value: unknown, place: string) => document.string(value, place);
  const platform = hostPlatform();
  return {
    ...document.optional(root, 'created', '', text),
    ...document.optional(root, 'author', '', text),
    // Both are required by the specification, but very old archives lack them and every engine reads those.
    architecture: document.optional(root, 'architecture', '', text).architecture || platform.architecture,
    os: document.optional(root, 'os', '', text).os || platform.os,
    ...document.optional(root, 'variant', '', text),
    ...document.optional(root, 'os.version', '', text),
    ...document.optional(root, 'config', '', (value, place) => parseRunConfig(document, value, place)),
    ...document.optional(root, 'rootfs', '', (value, place) => parseRootfs(document, value, place)),
    ...document.optional(root, 'history', '', (value, place) =>
      document.array(value, place, maxLayers, (entry, at) => parseHistoryEntry(document, entry, at)),
    ),
  };
}

/** Reads the `config` object alone, as the Engine API's commit and import take it. */
export function parseRunConfigJson(bytes: Uint8Array | string, what = 'the container config'): RunConfig {
  const document = new JsonDocument(bytes, what, maxConfigBytes);
  return parseRunConfig(document, document.root, '');
}

/** The uncompressed layers' digests, lowest first. Throws InvalidArgument on one that is not a digest. */
export function diffIdsOf(config: ImageConfig): Digest[] {
  return (config.rootfs?.diff_ids ?? []).map(parseDigest);
}

/** The config as the store keeps it: without `rootfs` and `history`, which belong to a layered form. */
export function withoutLayers(config: ImageConfig): ImageConfig {
  const { rootfs: _rootfs, history: _history, ...rest } = config;
  return rest;
}

function parseRunConfig(document: JsonDocument, value: unknown, place: string): RunConfig {
  const config = document.object(value, place);
  const text = (field: unknown, at: string) => document.string(field, at);
  const list = (field: unknown, at: string) => document.strings(field, at);
  const set = (field: unknown, at: string) => document.map(field, at, 10_000, () => ({}) as Record<string, never>);
  return {
    ...document.optional(config, 'User', place, text),
    ...document.optional(config, 'ExposedPorts', place, set),
    ...document.optional(config, 'Env', place, list),
    ...document.optional(config, 'Entrypoint', place, list),
    ...document.optional(config, 'Cmd', place, list),
    ...document.optional(config, 'Volumes', place, set),
    ...document.optional(config, 'WorkingDir', place, text),
    ...document.optional(config, 'Labels', place, (field, at) => document.map(field, at, 10_000, text)),
    ...document.optional(config, 'StopSignal', place, text),
    ...document.optional(config, 'Shell', place, list),
    ...document.optional(config, 'OnBuild', place, list),
    ...document.optional(config, 'Healthcheck', place, (field, at) => parseHealthcheck(document, field, at)),
    ...document.optional(config, 'ArgsEscaped', place, (field) => field === true),
  };
}

function parseHealthcheck(document: JsonDocument, value: unknown, place: string): Healthcheck {
  const check = document.object(value, place);
  const number = (field: unknown, at: string) => document.integer(field, at);
  return {
    ...document.optional(check, 'Test', place, (field, at) => document.strings(field, at)),
    ...document.optional(check, 'Interval', place, number),
    ...document.optional(check, 'Timeout', place, number),
    ...document.optional(check, 'StartPeriod', place, number),
    ...document.optional(check, 'StartInterval', place, number),
    ...document.optional(check, 'Retries', place, number),
  };
}

function parseRootfs(document: JsonDocument, value: unknown, place: string): { type: 'layers'; diff_ids: string[] } {
  const rootfs = document.object(value, place);
  const type = document.optional(rootfs, 'type', place, (field, at) => document.string(field, at)).type ?? 'layers';
  if (type !== 'layers') throw document.error(`${place}.type`, `is "${type.slice(0, 40)}"; only "layers" is known`);
  const { diff_ids = [] } = document.optional(rootfs, 'diff_ids', place, (field, at) => document.strings(field, at, maxLayers));
  return { type: 'layers', diff_ids };
}

function parseHistoryEntry(document: JsonDocument, value: unknown, place: string): HistoryEntry {
  const entry = document.object(value, place);
  const text = (field: unknown, at: string) => document.string(field, at);
  return {
    ...document.optional(entry, 'created', place, text),
    ...document.optional(entry, 'created_by', place, text),
    ...document.optional(entry, 'author', place, text),
    ...document.optional(entry, 'comment', place, text),
    ...document.optional(entry, 'empty_layer', place, (field) => field === true),
  };
}
