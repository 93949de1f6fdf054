import { EngineError } from '../base/errors.ts';
import type { Descriptor, Platform } from './image.ts';

/** Node's names to Go's, which OCI uses (image-spec image-index.md, "platform"). */
const architectures: Partial<Record<NodeJS.Architecture, Platform>> = {
  x64: { os: 'linux', architecture: 'amd64' },
  arm64: { os: 'linux', architecture: 'arm64' },
  arm: { os: 'linux', architecture: 'arm', variant: 'v7' },
  riscv64: { os: 'linux', architecture: 'riscv64' },
  ppc64: { os: 'linux', architecture: 'ppc64le' },
  s390x: { os: 'linux', architecture: 's390x' },
  loong64: { os: 'linux', architecture: 'loong64' },
};

/** This host's platform. Containers run the host's kernel, so `os` is always linux. */
export function hostPlatform(): Platform {
  return architectures[process.arch] ?? { os: 'linux', architecture: process.arch };
}

/** Parses `os/architecture[/variant]` or a bare architecture, aliases included (`x86_64`, `aarch64`). Throws InvalidArgument. */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split('/');
  const wellFormed = parts.length <= 3 && parts.every((part) => /^[a-z0-9_.-]{1,64}$/.test(part));
  const [os, architecture, variant] = parts.length === 1 ? ['linux', parts[0], undefined] : parts;
  if (!wellFormed || os === undefined || architecture === undefined) {
    throw new EngineError('InvalidArgument', 'PLATFORM_INVALID', `"${text.slice(0, 100)}" is not a platform`, {
      hint: 'A platform reads os/architecture[/variant], for example linux/amd64 or linux/arm/v7.',
    });
  }
  return normalizePlatform({ os, architecture, ...(variant === undefined ? {} : { variant }) });
}

/** One spelling for each platform: aliases resolved, variants that say nothing removed (containerd's `platforms.Normalize`). */
function normalizePlatform(platform: Platform): Platform {
  const { os, architecture, variant, ...rest } = platform;
  const made = (name: string, kept?: string): Platform => ({
    ...rest,
    os: os.toLowerCase(),
    architecture: name,
    ...(kept ? { variant: kept } : {}),
  });
  const level = variant?.toLowerCase();
  switch (architecture.toLowerCase()) {
    case 'x86_64':
    case 'x86-64':
    case 'amd64':
      return made('amd64', level === 'v1' ? undefined : level);
    case 'i386':
    case 'i486':
    case 'i586':
    case 'i686':
      return made('386');
    case 'aarch64':
    case 'arm64':
      return made('arm64', level === 'v8' || level === '8' ? undefined : level);
    case 'armhf':
      return made('arm', 'v7');
    case 'armel':
      return made('arm', 'v6');
    case 'arm':
      return made('arm', level === undefined || level === '' ? 'v7' : /^\d$/.test(level) ? `v${level}` : level);
    default:
      return made(architecture.toLowerCase(), level);
  }
}

export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, ...(platform.variant ? [platform.variant] : [])].join('/');
}

/**
 * The manifest of an index that fits the wanted platform best, or undefined. An exact variant wins; an amd64 or ARM processor also takes
 * lower levels of its own architecture, highest first. Attestations (platform `unknown/unknown`) never match. When no descriptor names a
 * platform at all and there is just one, that one is taken: OCI layouts of a single image are written like this.
 */
export function selectByPlatform(descriptors: readonly Descriptor[], wanted: Platform): Descriptor | undefined {
  const target = normalizePlatform(wanted);
  let best: { descriptor: Descriptor; score: number } | undefined;
  for (const descriptor of descriptors) {
    const score = descriptor.platform === undefined ? 0 : scorePlatform(normalizePlatform(descriptor.platform), target);
    if (score > 0 && score > (best?.score ?? 0)) best = { descriptor, score };
  }
  if (best !== undefined) return best.descriptor;
  const [only, ...more] = descriptors;
  return only?.platform === undefined && more.length === 0 ? only : undefined;
}

/** Whether what is made for one platform is what another one asks for: the same, or a lower level of its instruction set. */
export function platformFits(offered: Platform, wanted: Platform): boolean {
  return scorePlatform(normalizePlatform(offered), normalizePlatform(wanted)) > 0;
}

/** The platform that an image's config names. */
export function platformOf({ os, architecture, variant }: Pick<Platform, 'os' | 'architecture' | 'variant'>): Platform {
  return normalizePlatform({ os, architecture, ...(variant === undefined ? {} : { variant }) });
}

/** 0: does not run there. Higher is closer. */
function scorePlatform(offered: Platform, wanted: Platform): number {
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) return 0;
  const offeredLevel = levelOf(offered);
  const wantedLevel = levelOf(wanted);
  if (offeredLevel === wantedLevel) return 1000;
  if (offeredLevel === undefined || wantedLevel === undefined || offeredLevel > wantedLevel) return 0;
  return 1 + offeredLevel;
}

/** The variant as a number that orders what an instruction set level includes. Undefined: a variant that nothing is known of. */
function levelOf(platform: Platform): number | undefined {
  if (platform.variant === undefined) return platform.architecture === 'amd64' ? 1 : platform.architecture === 'arm64' ? 8 : 0;
  const level = /^v(\d{1,2})$/.exec(platform.variant)?.[1];
  return level === undefined ? undefined : Number(level);
}
