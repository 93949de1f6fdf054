import { readFileSync } from 'node:fs';
import { EngineError } from '../../base/errors.ts';

/** Capabilities by number (capability.h). */
const names = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;

/** Docker's fourteen. */
const defaults = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
];

export type CapabilityRequest = { privileged?: boolean; add?: readonly string[] | null; drop?: readonly string[] | null };

/**
 * The set that a container gets, as `CAP_…`. Docker's rules: `ALL` in `add` starts from everything, `ALL` in `drop` from nothing; then
 * single drops, then single adds. Only what `available` has can be given: the kernel refuses more than the engine holds.
 */
export function capabilities(request: CapabilityRequest, available: readonly string[]): { granted: string[]; missing: string[] } {
  const all = available;
  const add = (request.add ?? []).map((name) => parseCapability(name, 'CapAdd'));
  const drop = (request.drop ?? []).map((name) => parseCapability(name, 'CapDrop'));
  if (request.privileged) return { granted: [...all], missing: [] };
  const start = add.includes('ALL') ? all : drop.includes('ALL') ? [] : defaults.map((name) => `CAP_${name}`);
  const wanted = new Set(start);
  for (const name of drop) wanted.delete(name);
  for (const name of add) if (name !== 'ALL') wanted.add(name);
  const granted = [...wanted].filter((name) => available.includes(name));
  return { granted, missing: add.filter((name) => name !== 'ALL' && !available.includes(name)) };
}

/** `net_admin`, `CAP_NET_ADMIN` and `NET_ADMIN` are one; `ALL` stays. InvalidArgument for what no kernel knows. */
export function parseCapability(text: string, field: 'CapAdd' | 'CapDrop'): string {
  const name = text.toUpperCase().replace(/^CAP_/, '');
  if (name === 'ALL') return 'ALL';
  if (!(names as readonly string[]).includes(name)) {
    throw new EngineError('InvalidArgument', 'CAPABILITY_UNKNOWN', `invalid ${field}: unknown capability: "CAP_${name}"`, {
      hint: 'See capabilities(7) for the names, such as NET_ADMIN.',
    });
  }
  return `CAP_${name}`;
}

/** What this process may pass on: its bounding set. */
export function ownCapabilities(): string[] {
  const bits = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'}`);
  return names.filter((_, number) => (bits >> BigInt(number)) & 1n).map((name) => `CAP_${name}`);
}
