import { runCommand } from '../drivers/command.ts';
import type { OciRuntime } from '../drivers/oci-runtime.ts';

/** What a runtime says of itself (runtime-spec, features.md): the parts that are asked for. */
type Features = { mountOptions?: string[] };

const known = new Map<string, Promise<Features | undefined>>();

/** Undefined when the runtime does not tell, as crun before 1.10. Asked once a program. */
function featuresOf({ program }: Pick<OciRuntime, 'program'>): Promise<Features | undefined> {
  const asked = known.get(program) ?? askFeatures(program);
  known.set(program, asked);
  return asked;
}

async function askFeatures(program: string): Promise<Features | undefined> {
  try {
    const { exitCode, stdout } = await runCommand(program, ['features'], { timeoutMs: 5_000 });
    return exitCode === 0 ? (JSON.parse(stdout) as Features) : undefined;
  } catch {
    // Not there, hanging, or not JSON: whatever it is, it has not told that it can.
    return undefined;
  }
}

/** Whether it takes the mount option `rro`. */
export async function makesRecursiveReadOnly(runtime: Pick<OciRuntime, 'program'>): Promise<boolean> {
  return (await featuresOf(runtime))?.mountOptions?.includes('rro') ?? false;
}
