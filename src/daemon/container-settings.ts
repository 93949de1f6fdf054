import { readFile } from 'node:fs/promises';
import { EngineError } from '../base/errors.ts';
import { readCgroups, requireCgroupDriver } from '../host/cgroups.ts';
import { type Remap, resolveRemap } from '../host/userns.ts';
import { defaultSettings, type RuntimeSettings } from '../runtime/spec/facts.ts';
import { seccompFor } from '../runtime/spec/seccomp-profile.ts';
import type { DaemonConfig } from './config.ts';

/** What the configuration says of all containers, as the runtime takes it. Errors name the key: nobody learns of them at the first start. */
export async function containerSettings(config: DaemonConfig): Promise<{ settings: RuntimeSettings; remap: Remap | undefined }> {
  const cgroupDriver = requireCgroupDriver(readCgroups(), config.cgroupDriver);
  const remap = config.usernsRemap === undefined ? undefined : await resolveRemap(config.usernsRemap);
  const settings: RuntimeSettings = {
    cgroupDriver,
    idMap: remap?.idMap,
    cdiDirectories: config.cdiDirs,
    defaultUlimits: [...config.defaultUlimits],
    defaultShmBytes: config.defaultShmSize ?? defaultSettings.defaultShmBytes,
    seccompProfile: await readSeccompProfile(config.seccompProfile),
  };
  return { settings, remap };
}

async function readSeccompProfile(path: string | undefined): Promise<string | undefined> {
  if (path === undefined || path === 'unconfined') return path;
  try {
    const text = await readFile(path, 'utf8');
    seccompFor(text, false, []);
    return text;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new EngineError('InvalidArgument', 'CONFIG_INVALID', `seccomp-profile: ${path}: ${why}`, { cause });
  }
}
