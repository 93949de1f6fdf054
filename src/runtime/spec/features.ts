import { runCommand } from '../drivers/command.ts';
import type { OciRuntime } from '../drivers/oci-runtime.ts';

/** What a runtime says of itself (runtime-spec, features.md): the parts that are asked for. */
type Features = { mountOptions?: string[] };

const known = new Map<string, Promise<Features | undefined>>();

/** Undefined when the runtime does not tell. Asked once a program. */
function featuresOf({ program }: Pick<OciRuntime, 'program'>): Promise<Features | undefined> {
  const asked = known.get(program) ?? askFeatures(program);
  known.set(program, asked);
  return asked;
}

async function askFeatures(program: string): Promise<Features | undefined> {
  try {
    const { exitCode, stdout } = await runCommand(program, ['features'], { timeoutMs: 5_000 });
    return exitCode === 0 ? (JSON.parse(stdout) as Features) : await olderCrun(program);
  } catch {
    // Not there, hanging, or not JSON: whatever it is, it has not told that it can.
    return undefined;
  }
}

/** crun tells of itself from 1.10, and makes recursive read-only mounts from 1.4. */
async function olderCrun(program: string): Promise<Features | undefined> {
  const { stdout } = await runCommand(program, ['--version'], { timeoutMs: 5_000 });
  const [, major = '0', minor = '0'] = /^crun version (\d+)\.(\d+)/.exec(stdout) ?? [];
  return Number(major) > 1 || (Number(major) === 1 && Number(minor) >= 4) ? { mountOptions: ['rro'] } : undefined;
}

/** Whether it takes the mount option `rro`. */
export async function makesRecursiveReadOnly(runtime: Pick<OciRuntime, 'program'>): Promise<boolean> {
  return (await featuresOf(runtime))?.mountOptions?.includes('rro') ?? false;
}
