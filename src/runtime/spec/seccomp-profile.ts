import { release } from 'node:os';
import { EngineError } from '../../base/errors.ts';
import { defaultSeccomp } from './seccomp.ts';
import type { Seccomp } from './types.ts';

/** The filter for a process with these capabilities; undefined for none. `asked` as in SecurityOptions; `standard` is the configuration's. */
export function seccompFor(
  asked: string | undefined,
  privileged: boolean | undefined,
  capabilities: readonly string[],
  standard?: string | undefined,
): Seccomp | undefined {
  if (privileged && asked === undefined) return undefined;
  const profile = asked ?? standard ?? 'builtin';
  if (profile === 'unconfined') return undefined;
  return profile === 'builtin' ? defaultSeccomp(capabilities) : customSeccomp(profile, capabilities);
}

type Condition = { caps?: string[] | null; arches?: string[] | null; minKernel?: string };
type ProfileRule = {
  names?: string[] | null;
  name?: string;
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[] | null;
  includes?: Condition;
  excludes?: Condition;
};
type Profile = {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[] | null;
  archMap?: { architecture: string; subArchitectures?: string[] | null }[] | null;
  flags?: string[] | null;
  listenerPath?: string;
  listenerMetadata?: string;
  syscalls?: ProfileRule[] | null;
};

/** Names of this machine in conditions of profiles, and in libseccomp. */
const machines: Record<string, { names: string[]; native: string }> = {
  x64: { names: ['amd64', 'x86', 'x32'], native: 'SCMP_ARCH_X86_64' },
  arm64: { names: ['arm64', 'arm'], native: 'SCMP_ARCH_AARCH64' },
};

/** A profile in Docker's JSON format: conditions are resolved here, since runtimes do not know them. */
function customSeccomp(text: string, capabilities: readonly string[]): Seccomp {
  const profile = parseProfile(text);
  const machine = machines[process.arch] ?? { names: [process.arch], native: '' };
  const holds = ({ caps, arches, minKernel }: Condition) => ({
    caps: caps?.length ? caps.every((name) => capabilities.includes(name)) : undefined,
    arches: arches?.length ? arches.some((name) => machine.names.includes(name)) : undefined,
    kernel: minKernel ? kernelIsAtLeast(minKernel) : undefined,
  });
  const applies = (rule: ProfileRule) => {
    const include = Object.values(holds(rule.includes ?? {}));
    const exclude = Object.values(holds(rule.excludes ?? {}));
    return !include.includes(false) && !exclude.includes(true);
  };
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet !== undefined ? { defaultErrnoRet: profile.defaultErrnoRet } : {}),
    architectures: architectures(profile, machine.native),
    ...(profile.flags?.length ? { flags: profile.flags } : {}),
    ...(profile.listenerPath ? { listenerPath: profile.listenerPath } : {}),
    ...(profile.listenerMetadata ? { listenerMetadata: profile.listenerMetadata } : {}),
    syscalls: (profile.syscalls ?? []).filter(applies).map((rule) => ({
      names: rule.names ?? (rule.name ? [rule.name] : []),
      action: rule.action,
      ...(rule.errnoRet !== undefined ? { errnoRet: rule.errnoRet } : {}),
      ...(rule.args && rule.args.length > 0 ? { args: rule.args } : {}),
    })),
  };
}

function architectures({ architectures: own, archMap }: Profile, native: string): string[] {
  if (own?.length) return own;
  const mapped = archMap?.find(({ architecture }) => architecture === native);
  return mapped ? [mapped.architecture, ...(mapped.subArchitectures ?? [])] : (defaultSeccomp([]).architectures ?? []);
}

function kernelIsAtLeast(wanted: string): boolean {
  const [major = 0, minor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map((part) => Number.parseInt(part, 10));
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

type WithSource = { parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown };
type RawJson = { rawJSON(text: string): unknown };

/** Arguments are 64 bits wide: what a JavaScript number cannot hold stays the text that it is. */
function parseJson(text: string): unknown {
  return (JSON as unknown as WithSource).parse(text, (_, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^\d+$/.test(source ?? '')
      ? (JSON as unknown as RawJson).rawJSON(source ?? '0')
      : value,
  );
}

function parseProfile(text: string): Profile {
  const refuse = (why: string, cause?: unknown) =>
    new EngineError('InvalidArgument', 'SECCOMP_INVALID', `decoding seccomp profile failed: ${why}`, {
      hint: 'Clients send the profile itself, as JSON; check the file that was given.',
      cause,
    });
  let profile: Profile;
  try {
    profile = parseJson(text) as Profile;
  } catch (error) {
    throw refuse((error as Error).message, error);
  }
  if (typeof profile?.defaultAction !== 'string') throw refuse('it has no defaultAction');
  for (const field of ['syscalls', 'architectures', 'archMap', 'flags'] as const)
    if (profile[field] && !Array.isArray(profile[field])) throw refuse(`${field} is no list`);
  if (profile.architectures?.length && profile.archMap?.length)
    throw refuse("both 'architectures' and 'archMap' are specified in the seccomp profile, use only one");
  for (const rule of profile.syscalls ?? []) {
    if (typeof rule?.action !== 'string') throw refuse('a rule of syscalls has no action');
    if (rule.name && rule.names?.length) throw refuse("both 'name' and 'names' are specified in the seccomp profile, use only one");
  }
  return profile;
}
