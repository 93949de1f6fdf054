import { EngineError } from '../base/errors.ts';
import { whyNotRunnable } from '../kernel/runnable.ts';
import type { Platform } from '../oci/image.ts';
import { hostPlatform } from '../oci/platform.ts';
import type { ImageRecord, Images } from '../store/port.ts';
import { isPlainObject } from './decode.ts';
import { invalid } from './errors.ts';

export type WantedPlatform = Partial<Pick<Platform, 'os' | 'architecture' | 'variant'>>;

const knownSystems = ['linux', 'windows', 'darwin', 'freebsd'];
const otherNames: Record<string, { architecture: string; variant?: string }> = {
  x86_64: { architecture: 'amd64' },
  'x86-64': { architecture: 'amd64' },
  aarch64: { architecture: 'arm64' },
  i386: { architecture: '386' },
  armhf: { architecture: 'arm', variant: 'v7' },
  armel: { architecture: 'arm', variant: 'v6' },
};

/** `linux`, `arm64`, `linux/arm/v7` (containerd's platforms grammar). InvalidArgument `PLATFORM_INVALID`. */
export function parsePlatform(text: string): WantedPlatform {
  const parts = text.toLowerCase().split('/');
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9_-]+$/.test(part))) {
    throw invalid(
      'PLATFORM_INVALID',
      `"${text.slice(0, 100)}" is an invalid platform specifier`,
      'Give it as linux/amd64 or linux/arm/v7.',
    );
  }
  const [first = '', second, variant] = parts;
  if (second === undefined) return knownSystems.includes(first) ? { os: first } : { os: 'linux', ...architectureOf(first) };
  return { os: first, ...architectureOf(second), ...(variant === undefined ? {} : { variant }) };
}

/** The JSON form, `{"os": "linux", "architecture": "arm64"}`, that newer routes take. */
export function decodePlatform(text: string): WantedPlatform {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  if (!isPlainObject(json)) throw invalid('PLATFORM_INVALID', 'failed to parse platform: it is not a JSON object');
  const { os, architecture, variant } = json;
  if (typeof os !== 'string' || typeof architecture !== 'string' || os === '' || architecture === '') {
    throw invalid('PLATFORM_INVALID', 'both OS and Architecture must be provided');
  }
  return { os, architecture, ...(typeof variant === 'string' && variant !== '' ? { variant } : {}) };
}

/** Throws NotFound when the image is there, but for another platform: to its client that is an image to be pulled. */
export function checkPlatform(image: ImageRecord, name: string, wanted: WantedPlatform): void {
  const { os, architecture, variant } = image.config;
  const fits =
    (wanted.os ?? os) === os &&
    (wanted.architecture ?? architecture) === architecture &&
    (wanted.variant === undefined || variant === undefined || wanted.variant === variant);
  if (fits) return;
  const shown = (platform: WantedPlatform) => [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/');
  throw new EngineError(
    'NotFound',
    'IMAGE_PLATFORM_MISMATCH',
    `image with reference ${name} was found but does not match the specified platform: wanted ${shown(wanted)}, actual: ${shown(image.config)}`,
  );
}

/** The image of that name for a platform: itself, or what is here beside it for that platform. Throws as `checkPlatform`. */
export async function imageFor(
  images: Pick<Images, 'forPlatform'>,
  { image, name, wanted }: { image: ImageRecord; name: string; wanted: WantedPlatform },
): Promise<ImageRecord> {
  const { os = 'linux', architecture, variant } = wanted;
  const found =
    architecture === undefined
      ? undefined
      : await images.forPlatform(image, { os, architecture, ...(variant === undefined ? {} : { variant }) });
  if (found !== undefined) return found;
  checkPlatform(image, name, wanted);
  return image;
}

/** A container may be made of an image for another machine, to copy out of it; that it will not start is said at once. */
export async function foreignWarning(images: Pick<Images, 'resolve'>, id: string): Promise<string[]> {
  // Somebody may have removed it since: the container has what it needs.
  const image = await images.resolve(id).catch(() => undefined);
  if (image === undefined) return [];
  const { config } = image;
  const host = hostPlatform();
  if (config.architecture === host.architecture && config.os === host.os) return [];
  const why = whyNotRunnable(config, host, { what: 'the container' });
  return why === undefined ? [] : [`${why.message}. ${why.hint}`];
}

function architectureOf(name: string): { architecture: string; variant?: string } {
  return otherNames[name] ?? { architecture: name };
}
