import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isErrno } from '../../base/errors.ts';
import type { RuntimeSpec } from '../spec/types.ts';

/** crun's name for a filter that is compiled already, in base64. It takes precedence over `linux.seccomp`. */
const annotation = 'run.oci.seccomp_bpf_data';
/** Enough for the default profile and those of a few builds and `--security-opt seccomp=FILE`. */
const kept = 16;

/**
 * System-call filters as crun compiles them, 8 kB each. The default profile's 300 rules for three architectures take libseccomp 12 ms at every start,
 * which is half of what crun takes in all. crun leaves the result in the container's state; given back with the next container of the same profile,
 * it is loaded as it is.
 */
export class CompiledFilters {
  readonly #byProfile = new Map<string, string>();

  apply(spec: RuntimeSpec): RuntimeSpec {
    const filter = this.#byProfile.get(profileOf(spec) ?? '');
    return filter === undefined ? spec : { ...spec, annotations: { ...spec.annotations, [annotation]: filter } };
  }

  /** Reads what crun compiled for this specification, if it is not known yet. */
  async keep(spec: RuntimeSpec, path: string): Promise<void> {
    const profile = profileOf(spec);
    if (profile === undefined || this.#byProfile.has(profile)) return;
    const filter = await readIfThere(path);
    // A filter is a whole number of 8-byte instructions.
    if (filter === undefined || filter.length === 0 || filter.length % 8 !== 0) return;
    const [oldest] = this.#byProfile.keys();
    if (this.#byProfile.size >= kept && oldest !== undefined) this.#byProfile.delete(oldest);
    this.#byProfile.set(profile, filter.toString('base64'));
  }
}

/** Undefined when there is nothing to compile, or when the specification brings a filter of its own. */
function profileOf({ linux, annotations }: RuntimeSpec): string | undefined {
  if (linux.seccomp === undefined || annotations?.[annotation] !== undefined) return undefined;
  return createHash('sha256').update(JSON.stringify(linux.seccomp)).digest('base64');
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
