import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { Resources } from '../../api-types/container.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { listMounts } from '../../kernel/mount.ts';

const defaultPeriodUs = 1_000_000;

/**
 * Gives the groups above a container's the real-time share that it is about to ask for: a new group has none, and cannot give what it does not
 * have. `path` is the container's group. A no-op without CpuRealtimeRuntime. Conflict `REALTIME_EXHAUSTED` when the host has not as much to give.
 */
export async function shareRealtime(
  path: string,
  { CpuRealtimeRuntime: runtime = 0, CpuRealtimePeriod: period = 0 }: Resources,
): Promise<void> {
  if (runtime === 0) return;
  const root = listMounts().find(({ type, superOptions }) => type === 'cgroup' && superOptions.split(',').includes('cpu'))?.mountPoint;
  if (root === undefined) return;
  const names = posix
    .dirname(path)
    .split('/')
    .filter((name) => name !== '');
  const groups = names.map((_, index) => join(root, ...names.slice(0, index + 1)));
  for (const group of groups) await mkdir(group, { recursive: true });
  const wanted = await sharesWanted(groups, runtime / (period || defaultPeriodUs));
  // From the top: none can have more than what it is in.
  for (const [index, group] of groups.entries()) await raise(group, wanted[index] ?? 0);
}

/** What each of these groups, every one in the one before it, must have so that the last can give `share` to a new one. */
async function sharesWanted(groups: readonly string[], share: number): Promise<number[]> {
  const wanted: number[] = [];
  let needed = share;
  for (const [index, group] of [...groups.entries()].reverse()) {
    const next = groups[index + 1];
    const others = await childrenOf(group, next);
    needed += others.reduce((sum, each) => sum + each, 0);
    needed = Math.max(needed, shareOf(await read(group)));
    wanted.unshift(needed);
  }
  return wanted;
}

async function childrenOf(group: string, except: string | undefined): Promise<number[]> {
  const below = (await readdir(group, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => join(group, name));
  return Promise.all(below.filter((path) => path !== except).map(async (path) => shareOf(await read(path))));
}

async function raise(group: string, share: number): Promise<void> {
  const own = await read(group);
  const wanted = Math.ceil(share * own.periodUs);
  if (own.runtimeUs === -1 || own.runtimeUs >= wanted) return;
  try {
    await writeFile(join(group, 'cpu.rt_runtime_us'), String(wanted));
  } catch (error) {
    if (!isErrno(error, 'EINVAL')) throw error;
    throw new EngineError(
      'Conflict',
      'REALTIME_EXHAUSTED',
      `the host has no ${wanted} us of real-time every ${own.periodUs} us for ${group}`,
      {
        hint: 'See kernel.sched_rt_runtime_us, and what other groups have in cpu.rt_runtime_us.',
        cause: error,
        exitCode: 125,
      },
    );
  }
}

type Realtime = { runtimeUs: number; periodUs: number };

const shareOf = ({ runtimeUs, periodUs }: Realtime) => Math.max(runtimeUs, 0) / periodUs;

async function read(group: string): Promise<Realtime> {
  const value = async (file: string) => Number.parseInt(await readFile(join(group, file), 'latin1'), 10);
  try {
    return { runtimeUs: await value('cpu.rt_runtime_us'), periodUs: (await value('cpu.rt_period_us')) || defaultPeriodUs };
  } catch (error) {
    // A group that went away meanwhile holds nothing.
    if (isErrno(error, 'ENOENT', 'ENODEV')) return { runtimeUs: 0, periodUs: defaultPeriodUs };
    throw error;
  }
}
