import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, isErrno } from '../base/errors.ts';
import { listMounts } from '../kernel/mount.ts';
import { killProcess } from '../kernel/process.ts';

type Hierarchy = {
  mountpoint: string;
  version: 1 | 2;
  controllers: readonly string[];
  /** The engine's own group in it. */
  own: string;
};

/**
 * The host's control groups, v1, v2 or both. The runtime makes a container's group; the engine moves monitors, lists processes and removes
 * what a crash left. Paths are relative to a hierarchy's root, such as `/slipway-1a2b3c4d/<id>`.
 */
export class Cgroups {
  readonly version: 1 | 2;
  readonly #hierarchies: readonly Hierarchy[];

  constructor(hierarchies: readonly Hierarchy[] = findHierarchies()) {
    this.#hierarchies = hierarchies;
    this.version = hierarchies.some(({ version }) => version === 1) ? 1 : 2;
  }

  /** Whether the kernel counts swap, so that a limit on it can be set. */
  get swapAccounting(): boolean {
    if (this.version === 2) return this.#hierarchies.some(({ mountpoint }) => swapFile(mountpoint));
    const memory = this.#with('memory');
    return memory !== undefined && exists(join(memory.mountpoint, 'memory.memsw.limit_in_bytes'));
  }

  /**
   * Moves a process into a group of its own, so that whoever kills all of the engine's group does not kill it. Only where the engine is
   * in a group: the root of a hierarchy is nobody's to kill, and a move costs 2 ms there.
   */
  async isolate(pid: number, path: string): Promise<void> {
    const grouped = this.#hierarchies.filter(({ own }) => own !== '/');
    await Promise.all(grouped.map((hierarchy) => this.#move(hierarchy, pid, path)));
  }

  async #move(hierarchy: Hierarchy, pid: number, path: string): Promise<void> {
    const directory = join(hierarchy.mountpoint, path);
    await mkdir(directory, { recursive: true });
    // A new cpuset group has no processors, and takes no process until it has.
    if (hierarchy.controllers.includes('cpuset') && hierarchy.version === 1) await inheritCpuset(hierarchy.mountpoint, path);
    try {
      await writeFile(join(directory, 'cgroup.procs'), String(pid));
    } catch (error) {
      if (!isErrno(error, 'ESRCH')) throw error;
    }
  }

  /** Processes in the group and below. */
  async processes(path: string): Promise<number[]> {
    const found = await Promise.all(this.#hierarchies.map(({ mountpoint }) => processesBelow(join(mountpoint, path))));
    return found.reduce((longest, list) => (list.length > longest.length ? list : longest), []);
  }

  /**
   * What a file of the group says. Undefined without the controller, the file or the group. Synchronous on purpose: the kernel answers from memory in 10 us,
   * and a trip through the thread pool costs ten times that.
   */
  read(path: string, controller: string, file: string): string | undefined {
    const hierarchy = this.#with(controller);
    return hierarchy && readMemoryFile(join(hierarchy.mountpoint, path, file));
  }

  /** Sets a limit. A no-op without the controller, the file or the group. */
  async write(path: string, controller: string, file: string, value: string): Promise<void> {
    const hierarchy = this.#with(controller);
    if (!hierarchy) return;
    try {
      // The file is the kernel's: never one that would be made here.
      await writeFile(join(hierarchy.mountpoint, path, file), value, { flag: 'r+' });
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP')) throw error;
    }
  }

  /** Removes the group in every hierarchy, whatever runs in it killed. A no-op where there is none. */
  async remove(path: string): Promise<void> {
    for (const pid of await this.processes(path)) killProcess(pid, 9);
    // With version 1 what is frozen is killed when it is thawed.
    if (this.version === 1) await this.write(path, 'freezer', 'freezer.state', 'THAWED');
    await Promise.all(this.#hierarchies.map(({ mountpoint }) => removeTree(join(mountpoint, path))));
  }

  /** Removes the group where nothing is in it, neither process nor group. */
  async removeEmpty(path: string): Promise<void> {
    for (const { mountpoint } of this.#hierarchies) {
      await rmdir(join(mountpoint, path)).catch((error) => {
        if (!isErrno(error, 'ENOENT', 'EBUSY', 'ENOTEMPTY')) throw error;
      });
    }
  }

  /** Names of the groups in `path`, in whatever hierarchy. */
  async list(path: string): Promise<string[]> {
    const lists = await Promise.all(this.#hierarchies.map(({ mountpoint }) => subdirectories(join(mountpoint, path))));
    return [...new Set(lists.flat())];
  }

  /** Where a controller is: in a hierarchy of its own, or with all others in the unified one. */
  #with(controller: string): Hierarchy | undefined {
    const own = this.#hierarchies.find(({ controllers }) => controllers.includes(controller));
    return own ?? (this.version === 2 ? this.#hierarchies.find(({ version }) => version === 2) : undefined);
  }
}

function swapFile(mountpoint: string): boolean {
  // The root group has no memory files; any group below tells.
  return readdirSync(mountpoint, { withFileTypes: true }).some(
    (entry) => entry.isDirectory() && exists(join(mountpoint, entry.name, 'memory.swap.max')),
  );
}

function exists(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}

const readBuffer = Buffer.allocUnsafeSlow(64 << 10);

/** A file of a kernel's file system, up to 64 KiB. Undefined when it is not there, or its subject has gone. */
export function readMemoryFile(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
  try {
    return readBuffer.toString('latin1', 0, readSync(fd, readBuffer, 0, readBuffer.length, 0));
  } catch (error) {
    if (isErrno(error, 'ENODEV', 'EOPNOTSUPP', 'ESRCH', 'EINVAL')) return undefined;
    throw error;
  } finally {
    closeSync(fd);
  }
}

function findHierarchies(): Hierarchy[] {
  const own = ownGroups();
  return listMounts().flatMap((mount): Hierarchy[] => {
    if (mount.type === 'cgroup2') return [{ mountpoint: mount.mountPoint, version: 2, controllers: [], own: own.get('') ?? '/' }];
    if (mount.type !== 'cgroup') return [];
    const controllers = mount.superOptions.split(',').filter((option) => option !== 'rw' && option !== 'ro' && !option.startsWith('xattr'));
    const group = controllers.map((name) => own.get(name)).find((path) => path !== undefined);
    return [{ mountpoint: mount.mountPoint, version: 1, controllers, own: group ?? '/' }];
  });
}

/** Group by controller (`''` for v2, `name=systemd` for named hierarchies), from /proc/self/cgroup. */
function ownGroups(): Map<string, string> {
  const groups = new Map<string, string>();
  for (const line of readFileSync('/proc/self/cgroup', 'latin1').trim().split('\n')) {
    const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    for (const controller of controllers.split(',')) groups.set(controller, path);
  }
  return groups;
}

async function inheritCpuset(mountpoint: string, path: string): Promise<void> {
  const names = path.split('/').filter((name) => name !== '');
  for (const index of names.keys()) {
    const [parent, child] = [join(mountpoint, ...names.slice(0, index)), join(mountpoint, ...names.slice(0, index + 1))];
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if ((await readFile(join(child, file), 'latin1')).trim() === '')
        await writeFile(join(child, file), await readFile(join(parent, file), 'latin1'));
    }
  }
}

async function processesBelow(directory: string): Promise<number[]> {
  try {
    const own = (await readFile(join(directory, 'cgroup.procs'), 'latin1'))
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
    const below = await Promise.all((await subdirectories(directory)).map((name) => processesBelow(join(directory, name))));
    return [...own, ...below.flat()];
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP')) return [];
    throw error;
  }
}

async function subdirectories(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENODEV')) return [];
    throw error;
  }
}

/**
 * How long a killed process may take to leave its group: a moment, but for the first of a PID namespace, which waits until all others in it are reaped.
 * Those that the host's init has inherited it reaps in its own time.
 */
const leavingMs = 10_000;

async function removeTree(directory: string): Promise<void> {
  for (const name of await subdirectories(directory)) await removeTree(join(directory, name));
  const deadline = Date.now() + leavingMs;
  for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, 50)) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      if (errnoOf(error) !== 'EBUSY' || Date.now() > deadline) throw error;
      // One that was being made when the others were killed.
      for (const pid of await processesBelow(directory)) killProcess(pid, 9);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
}
