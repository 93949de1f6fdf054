import { existsSync } from 'node:fs';
import { EngineError } from '../base/errors.ts';
import { listMounts, type MountInfo } from '../kernel/mount.ts';
import { readText } from './kernel.ts';
import type { Choice, HostItem } from './report.ts';

type CgroupMode = 'v1' | 'v2' | 'hybrid' | 'none';
export type CgroupFacts = { mode: CgroupMode; controllers: string[]; systemd: boolean };

const wanted = ['cpu', 'memory', 'pids', 'cpuset'];

export function readCgroups(mounts: readonly MountInfo[] = listMounts()): CgroupFacts {
  const unified = mounts.find(({ type }) => type === 'cgroup2');
  const legacy = mounts.filter(({ type }) => type === 'cgroup').flatMap(({ superOptions }) => superOptions.split(','));
  const known = ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids', 'devices', 'freezer', 'blkio', 'hugetlb', 'io', 'net_cls', 'perf_event'];
  const v1 = known.filter((name) => legacy.includes(name));
  const v2 = unified === undefined ? [] : readText(`${unified.mountPoint}/cgroup.controllers`).trim().split(' ').filter(Boolean);
  const mode = v1.length > 0 ? (unified === undefined ? 'v1' : 'hybrid') : unified === undefined ? 'none' : 'v2';
  return { mode, controllers: [...new Set([...v1, ...v2])], systemd: existsSync('/run/systemd/system') };
}

const modeNames: Record<CgroupMode, string> = {
  v1: 'v1',
  v2: 'v2',
  hybrid: 'hybrid: v1 controllers beside a v2 hierarchy',
  none: 'not mounted',
};

export function cgroupItems({ mode, controllers, systemd }: CgroupFacts): HostItem[] {
  const absent = wanted.filter((name) => !controllers.includes(name));
  return [
    {
      section: 'Control groups',
      name: 'mode',
      status: mode === 'none' ? 'missing' : 'ok',
      required: true,
      detail: `${modeNames[mode]}${systemd ? ', under systemd' : ', without systemd'}`,
      why: 'Mount them: mount -t cgroup2 none /sys/fs/cgroup.',
    },
    {
      section: 'Control groups',
      name: 'controllers',
      status: absent.length === 0 ? 'ok' : 'degraded',
      required: false,
      detail: controllers.join(', ') || 'none',
      why: absent.length === 0 ? undefined : `Limits do not work without: ${absent.join(', ')}.`,
    },
  ];
}

export type CgroupDriver = 'cgroupfs' | 'systemd';

/** `asked` is the configuration's. As Docker: systemd where it runs and all controllers are version 2, for then it owns the hierarchy. */
export function chooseCgroupDriver(
  { mode, systemd }: CgroupFacts,
  asked: CgroupDriver | 'auto' = 'auto',
): Choice & { name: CgroupDriver | undefined } {
  if (mode === 'none') return { name: undefined, why: 'no control groups are mounted' };
  if (asked === 'systemd' && !systemd) return { name: undefined, why: 'the configuration names systemd, which does not run here' };
  if (asked !== 'auto') return { name: asked, why: 'the configuration names it' };
  if (systemd && mode === 'v2')
    return { name: 'systemd', why: 'systemd runs here and owns the one hierarchy: each container is a scope of its' };
  const beside = systemd ? ' beside the groups of systemd' : ', and no systemd runs here';
  return { name: 'cgroupfs', why: `the engine makes its own groups in the hierarchy${beside}` };
}

/** The driver that the engine is to use. Unavailable `CGROUP_DRIVER` when the one that the configuration names does not work here. */
export function requireCgroupDriver(facts: CgroupFacts, asked: CgroupDriver | 'auto'): CgroupDriver {
  const { name, why } = chooseCgroupDriver(facts, asked);
  if (name !== undefined) return name;
  throw new EngineError('Unavailable', 'CGROUP_DRIVER', `cgroup-driver: ${why}`, {
    hint: asked === 'systemd' ? 'Use cgroup-driver = "cgroupfs", or leave it out.' : 'Mount them: mount -t cgroup2 none /sys/fs/cgroup.',
  });
}
