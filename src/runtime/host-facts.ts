import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import type { Cgroups } from './cgroups.ts';
import { loadedApparmorProfiles } from './spec/apparmor.ts';
import { ownCapabilities } from './spec/capabilities.ts';
import { readControls } from './spec/controls.ts';
import { defaultSettings, type HostFacts, type RuntimeSettings } from './spec/facts.ts';
import { ownHardLimits } from './spec/limits.ts';

/** Read once: none of it changes under a running engine, but AppArmor's profiles, which `ensureDefaultProfile` looks after. */
export function hostFacts(cgroups: Cgroups, settings: Partial<RuntimeSettings> = {}): HostFacts {
  return {
    capabilities: ownCapabilities(),
    hardLimits: ownHardLimits(),
    swapAccounting: cgroups.swapAccounting,
    cgroupVersion: cgroups.version,
    controls: readControls(),
    cpus: availableParallelism(),
    oomScoreAdj: Number.parseInt(readFileSync('/proc/self/oom_score_adj', 'latin1'), 10),
    apparmor: loadedApparmorProfiles(),
    selinux: existsSync('/sys/fs/selinux/enforce'),
    recursiveReadOnly: kernelAtLeast(5, 12),
    settings: { ...defaultSettings, ...settings },
  };
}

function kernelAtLeast(wantedMajor: number, wantedMinor: number): boolean {
  const [major = 0, minor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
