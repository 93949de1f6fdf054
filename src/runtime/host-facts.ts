import type { Cgroups } from './cgroups.ts';
import type { HostFacts } from './spec/build.ts';
import { ownCapabilities } from './spec/capabilities.ts';
import { ownHardLimits } from './spec/limits.ts';
import { loadedApparmorProfiles } from './spec/security.ts';

/** Read once: none of it changes under a running engine. */
export function hostFacts(cgroups: Cgroups): HostFacts {
  return {
    capabilities: ownCapabilities(),
    hardLimits: ownHardLimits(),
    swapAccounting: cgroups.swapAccounting,
    cgroupVersion: cgroups.version,
    apparmor: loadedApparmorProfiles(),
  };
}
