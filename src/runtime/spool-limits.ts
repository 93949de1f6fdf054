import type { HostConfig } from '../api-types/container.ts';

/** Without --log-opt: room for what matters, and an end to what a loop can fill. */
const defaults = { maxBytes: 100 << 20, maxFiles: 5 };
const units: Record<string, number> = { '': 1, b: 1, k: 1 << 10, m: 1 << 20, g: 1 << 30 };
/** Below it, rotating would cost more than writing. */
const minBytes = 16 << 10;

/** Docker's `max-size` (`10m`) and `max-file`. `max-size=-1` is no limit. */
export function spoolLimits(config: HostConfig['LogConfig']): { maxBytes: number; maxFiles: number } {
  const options = config?.Config ?? {};
  const [, digits, unit = ''] = /^(\d+)\s*([bkmg]?)b?$/i.exec(options['max-size'] ?? '') ?? [];
  const maxFiles = Number.parseInt(options['max-file'] ?? '', 10);
  return {
    maxBytes:
      options['max-size'] === '-1'
        ? Number.POSITIVE_INFINITY
        : digits
          ? Math.max(minBytes, Number(digits) * (units[unit.toLowerCase()] ?? 1))
          : defaults.maxBytes,
    maxFiles: maxFiles > 0 ? maxFiles : defaults.maxFiles,
  };
}
