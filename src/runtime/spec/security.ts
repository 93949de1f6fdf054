import { readFileSync } from 'node:fs';
import type { HostConfig } from '../../api-types/container.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { defaultSeccomp } from './seccomp.ts';
import type { Seccomp } from './types.ts';

/** Kernel settings that would tell of the host, or let a container change it. Docker's lists. */
export const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
export const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export type SecurityOptions = {
  noNewPrivileges: boolean;
  /** Undefined for the default; a profile's JSON text, or `unconfined`. */
  seccomp?: string | undefined;
  apparmor?: string | undefined;
  unmaskAll: boolean;
};

/** --security-opt in both of Docker's spellings, `key=value` and `key:value`. InvalidArgument `SECURITY_OPT_INVALID`. */
export function parseSecurityOptions(options: readonly string[]): SecurityOptions {
  const result: SecurityOptions = { noNewPrivileges: false, unmaskAll: false };
  for (const option of options) {
    const [key = '', value] = split(option);
    if (key === 'no-new-privileges' && (value === undefined || value === 'true' || value === 'false'))
      result.noNewPrivileges = value !== 'false';
    else if (key === 'seccomp' && value) result.seccomp = value;
    else if (key === 'apparmor' && value) result.apparmor = value;
    else if (key === 'systempaths' && value === 'unconfined') result.unmaskAll = true;
    else if (key === 'label' && value)
      continue; // SELinux labels: without SELinux on the host they say nothing, as in Docker.
    else {
      throw new EngineError('InvalidArgument', 'SECURITY_OPT_INVALID', `invalid --security-opt: "${option}"`, {
        hint: 'Known are no-new-privileges, seccomp=unconfined|PROFILE, apparmor=PROFILE, systempaths=unconfined.',
      });
    }
  }
  return result;
}

function split(option: string): [string, string | undefined] {
  const at = option.search(/[=:]/);
  return at === -1 ? [option, undefined] : [option.slice(0, at), option.slice(at + 1)];
}

/** The filter for a process with these capabilities; undefined for none. */
export function seccompFor(
  asked: string | undefined,
  privileged: boolean | undefined,
  capabilities: readonly string[],
): Seccomp | undefined {
  if (asked === 'unconfined' || (privileged && asked === undefined)) return undefined;
  if (asked === undefined || asked === 'builtin') return defaultSeccomp(capabilities);
  return customSeccomp(asked, capabilities);
}

type ProfileRule = {
  names?: string[];
  name?: string;
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[] | null;
  includes?: { caps?: string[]; arches?: string[] };
  excludes?: { caps?: string[]; arches?: string[] };
};
type Profile = {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  archMap?: { architecture: string; subArchitectures?: string[] | null }[];
  syscalls?: ProfileRule[];
};

const profileArches: Record<string, string[]> = { x64: ['amd64', 'x86', 'x32'], arm64: ['arm64', 'arm'] };

/** A profile in Docker's JSON format: conditions are resolved here, since runtimes do not know them. */
function customSeccomp(text: string, capabilities: readonly string[]): Seccomp {
  const profile = parseProfile(text);
  const machine = profileArches[process.arch] ?? [];
  const matches = (filter: ProfileRule['includes']) => ({
    caps: filter?.caps?.some((name) => capabilities.includes(name)),
    arches: filter?.arches?.some((arch) => machine.includes(arch)),
  });
  const applies = (rule: ProfileRule) => {
    const [include, exclude] = [matches(rule.includes), matches(rule.excludes)];
    return include.caps !== false && include.arches !== false && !exclude.caps && !exclude.arches;
  };
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet !== undefined ? { defaultErrnoRet: profile.defaultErrnoRet } : {}),
    architectures: profile.architectures ?? defaultSeccomp([]).architectures ?? [],
    syscalls: (profile.syscalls ?? []).filter(applies).map((rule) => ({
      names: rule.names ?? (rule.name ? [rule.name] : []),
      action: rule.action,
      ...(rule.errnoRet !== undefined ? { errnoRet: rule.errnoRet } : {}),
      ...(rule.args && rule.args.length > 0 ? { args: rule.args } : {}),
    })),
  };
}

function parseProfile(text: string): Profile {
  try {
    const profile = JSON.parse(text) as Profile;
    if (typeof profile?.defaultAction === 'string' && (profile.syscalls === undefined || Array.isArray(profile.syscalls))) return profile;
  } catch (error) {
    throw new EngineError('InvalidArgument', 'SECCOMP_INVALID', `decoding seccomp profile failed: ${(error as Error).message}`, {
      hint: 'Clients send the profile itself, as JSON; check the file that was given.',
      cause: error,
    });
  }
  throw new EngineError(
    'InvalidArgument',
    'SECCOMP_INVALID',
    'decoding seccomp profile failed: it has no defaultAction or no list of syscalls',
  );
}

/** The profile to run under: what was asked, Docker's default where it is loaded, none where the host has no AppArmor. */
export function apparmorProfile(
  asked: string | undefined,
  host: Pick<HostConfig, 'Privileged'>,
  loaded: readonly string[] | undefined,
): string | undefined {
  if (loaded === undefined) return undefined;
  if (asked !== undefined) return asked;
  if (host.Privileged) return 'unconfined';
  return loaded.includes('docker-default') ? 'docker-default' : undefined;
}

/** Names of loaded profiles; undefined when the kernel runs without AppArmor. */
export function loadedApparmorProfiles(): string[] | undefined {
  try {
    if (readFileSync('/sys/module/apparmor/parameters/enabled', 'latin1').trim() !== 'Y') return undefined;
    return readFileSync('/sys/kernel/security/apparmor/profiles', 'latin1')
      .split('\n')
      .flatMap((line) => /^(.+) \(\w+\)$/.exec(line)?.[1] ?? []);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}
