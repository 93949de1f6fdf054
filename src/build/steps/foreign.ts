import { emulationOf } from '../../kernel/binfmt.ts';
import { formatPlatform, hostPlatform, parsePlatform } from '../../oci/platform.ts';

/**
 * Why this host runs no programs of that platform; undefined when it does: of its own architecture, and of others with a handler of binfmt_misc that serves any root. `what` begins the sentence.
 */
export function whyNotRunnable(platform: string, what: string): { message: string; hint: string } | undefined {
  const { os, architecture } = parsePlatform(platform);
  const host = hostPlatform();
  if (os !== host.os) {
    return { message: `${what} is for ${platform}, and this host runs ${host.os} only`, hint: `Use a ${os} host.` };
  }
  if (architecture === host.architecture || (architecture === '386' && host.architecture === 'amd64')) return undefined;
  const emulation = emulationOf(architecture);
  if (emulation.kind === 'handler' && emulation.fixed) return undefined;
  const why =
    emulation.kind === 'none'
      ? 'binfmt_misc has no handler for them'
      : `the handler ${emulation.name} of binfmt_misc works on the host only, for it lacks the flag F`;
  return {
    message: `${what} needs programs for ${architecture} to run on this ${formatPlatform(host)} host, and ${why}`,
    hint: 'Install an emulator: apt-get install qemu-user-static binfmt-support. Or do it in a stage of this host: FROM --platform=$BUILDPLATFORM.',
  };
}
