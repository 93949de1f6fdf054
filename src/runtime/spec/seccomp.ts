import { defaultGroups, type FirstArgument, type SeccompGroup } from './seccomp-data.ts';
import type { Seccomp, SeccompRule } from './types.ts';

const EPERM = 1;

/** Docker's default profile for a process with these capabilities (`CAP_…`) on this machine (`process.arch`). */
export function defaultSeccomp(capabilities: readonly string[], machine: string = process.arch): Seccomp {
  const applies = (group: SeccompGroup) =>
    (group.capability === undefined || capabilities.includes(group.capability)) &&
    (group.withoutCapability === undefined || !capabilities.includes(group.withoutCapability)) &&
    (group.machines?.includes(machine) ?? true);
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures: architecturesOf(machine),
    syscalls: defaultGroups.filter(applies).flatMap(toRules),
  };
}

/** The machine's own calls and those of the 32-bit programs that its kernel runs. */
function architecturesOf(machine: string): string[] {
  return machine === 'arm64' ? ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'] : ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'];
}

function toRules(group: SeccompGroup): SeccompRule[] {
  const names = group.names.trim().split(/\s+/);
  if (group.errno !== undefined) return [{ names, action: 'SCMP_ACT_ERRNO', errnoRet: group.errno }];
  if (!group.firstArgument) return [{ names, action: 'SCMP_ACT_ALLOW' }];
  return group.firstArgument.map((form) => ({ names, action: 'SCMP_ACT_ALLOW', args: [toArgument(form)] }));
}

/** For a masked comparison `value` is the mask and `valueTwo` what must remain (seccomp_rule_add(3)). */
function toArgument(form: FirstArgument) {
  return form.op === 'SCMP_CMP_MASKED_EQ'
    ? { index: 0, value: form.mask, valueTwo: form.value, op: form.op }
    : { index: 0, value: form.value, op: form.op };
}
