import { emulationOf } from './binfmt.ts';

/** In Go's names. */
type Machine = { readonly os: string; readonly architecture: string };

/**
 * Why this host runs no programs of another machine; undefined when it does: of its own architecture, and of others with a handler of binfmt_misc that serves any root. `what` begins the sentence. `directory`:
 * where binfmt_misc is mounted.
 */
export function whyNotRunnable(
  wanted: Machine,
  host: Machine,
  { what, directory }: { what: string; directory?: string },
): { message: string; hint: string } | undefined {
  if (wanted.os !== host.os) {
    return { message: `${what} needs a ${wanted.os} host, and this is a ${host.os} one`, hint: `Use a ${wanted.os} host.` };
  }
  if (wanted.architecture === host.architecture || (wanted.architecture === '386' && host.architecture === 'amd64')) return undefined;
  const emulation = emulationOf(wanted.architecture, directory);
  if (emulation.kind === 'handler' && emulation.fixed) return undefined;
  const why =
    emulation.kind === 'none'
      ? 'binfmt_misc has no handler for them'
      : `the handler ${emulation.name} of binfmt_misc works on the host only, for it lacks the flag F`;
  return {
    message: `${what} needs programs for ${wanted.architecture} to run on this ${host.os}/${host.architecture} host, and ${why}`,
    hint: 'Install an emulator: apt-get install qemu-user-static binfmt-support.',
  };
}
