import { posix } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import type { RuntimeSettings } from './facts.ts';

/** Where a container's control group is: relative to each hierarchy's root, and as the runtime wants it named (config-linux.md, "Cgroups Path"). */
export type CgroupPlace = { path: string; spec: string };

/**
 * With the driver `cgroupfs` a folder under `parent`, with `systemd` a scope in a slice, `SLICE:slipway:ID`. `asked` is HostConfig.CgroupParent;
 * `parent` is the engine's own, `/slipway-<root id>`.
 */
export function cgroupPlace(driver: RuntimeSettings['cgroupDriver'], parent: string, asked: string | undefined, id: string): CgroupPlace {
  if (driver === 'cgroupfs') {
    const path = posix.join('/', asked || parent, id);
    return { path, spec: path };
  }
  const slice = asked || `${parent.replace(/^\//, '')}.slice`;
  return { path: `${expandSlice(slice)}/slipway-${id}.scope`, spec: `${slice}:slipway:${id}` };
}

/** `a-b.slice` lies in `a.slice` (systemd.slice(5)). */
function expandSlice(slice: string): string {
  const name = slice.replace(/\.slice$/, '');
  if (name === '-') return '';
  const parts = name.split('-');
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('-')}.slice`).join('');
}

/** InvalidArgument in Docker's words for what cannot be a parent. */
export function checkCgroupParent(driver: RuntimeSettings['cgroupDriver'], asked: string | undefined): void {
  if (!asked) return;
  const refuse = (message: string) => new EngineError('InvalidArgument', 'CGROUP_PARENT_INVALID', message);
  if (driver === 'cgroupfs') {
    if (asked.split('/').includes('..') || asked.includes('\0'))
      throw refuse(`invalid cgroup-parent ${JSON.stringify(asked)}: it leads out of the hierarchy`);
    return;
  }
  if (asked === '-.slice') return;
  if (!/^[a-zA-Z0-9:_.\\]+(-[a-zA-Z0-9:_.\\]+)*\.slice$/.test(asked))
    throw refuse('cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"');
}
