import { EngineError } from '../../base/errors.ts';

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
  /** Undefined for the default; `unconfined`, `builtin` or a profile's JSON text. */
  seccomp?: string | undefined;
  apparmor?: string | undefined;
  /** SELinux's, each as `type:value`, or `disable`. */
  labels: string[];
  /** Undefined: only privileged containers. */
  writableCgroups?: boolean | undefined;
  unmaskAll: boolean;
};

/**
 * --security-opt in both of Docker's spellings, `key=value` and `key:value`. `systempaths=unconfined` is a client's word for empty
 * MaskedPaths, taken here too. InvalidArgument `SECURITY_OPT_INVALID`.
 */
export function parseSecurityOptions(options: readonly string[]): SecurityOptions {
  const result: SecurityOptions = { noNewPrivileges: false, unmaskAll: false, labels: [] };
  for (const option of options) {
    if (option === 'no-new-privileges') result.noNewPrivileges = true;
    else if (option === 'writable-cgroups') result.writableCgroups = true;
    else if (option === 'disable') result.labels.push('disable');
    else readOption(option, result);
  }
  return result;
}

function readOption(option: string, result: SecurityOptions): void {
  const at = option.includes('=') ? option.indexOf('=') : option.indexOf(':');
  if (at === -1) throw invalid(1, option);
  const [key, value] = [option.slice(0, at), option.slice(at + 1)];
  if (key === 'no-new-privileges') result.noNewPrivileges = parseBoolean(value, option);
  else if (key === 'writable-cgroups') result.writableCgroups = parseBoolean(value, option);
  else if (key === 'systempaths' && value === 'unconfined') result.unmaskAll = true;
  else if (key === 'seccomp' && value !== '') result.seccomp = value;
  else if (key === 'apparmor' && value !== '') result.apparmor = value;
  else if (key === 'label' && value !== '') result.labels.push(value);
  else throw invalid(2, option);
}

/** As Go's strconv.ParseBool. */
function parseBoolean(text: string, option: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
  throw invalid(2, option);
}

/** Docker tells by a number which of its checks refused; clients match the words. */
function invalid(check: 1 | 2, option: string): EngineError {
  return new EngineError('InvalidArgument', 'SECURITY_OPT_INVALID', `invalid --security-opt ${check}: ${JSON.stringify(option)}`, {
    hint: 'Known are no-new-privileges, seccomp=unconfined|builtin|PROFILE, apparmor=PROFILE, label=…, systempaths=unconfined, writable-cgroups.',
  });
}

/** Options that say nothing on this host; empty when there is nothing to tell. */
export function securityWarnings(
  { apparmor, labels }: SecurityOptions,
  host: { apparmor: readonly string[] | undefined; selinux: boolean },
): string[] {
  const profile = apparmor !== undefined && apparmor !== 'unconfined' && host.apparmor === undefined;
  const set = labels.filter((label) => label !== 'disable');
  const why = host.selinux ? 'the engine does not set SELinux labels yet' : 'SELinux is not enabled on this host';
  return [
    ...(profile ? [`AppArmor is not enabled on this host: the profile "${apparmor}" has no effect`] : []),
    ...set.map((label) => `label=${label} has no effect: ${why}`),
  ];
}
