import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { listMounts, unmountIfMounted } from '../../kernel/mount.ts';
import { folderBytes } from '../folder-bytes.ts';
import { isVolumeName, volumeNotFound } from '../names.ts';
import type { VolumeDriver } from '../port.ts';
import { Serial } from '../serial.ts';
import { VolumeUsers } from '../users.ts';
import { isMounted, mountDevice, unmountDevice } from './device-mount.ts';
import { type LocalDevice, parseLocalOptions, resolveAddress } from './local-options.ts';

export type LocalVolumeDriverOptions = {
  /** `<root>/volumes`. */
  directory: string;
  /** `<run>/volumes`. */
  runDirectory: string;
};

/**
 * Volumes as folders, `<directory>/<name>/_data`, and mounts: with the options type, device and o the device is mounted there when the first user
 * comes and unmounted when the last one goes (docs/formats/volumes.md).
 */
export class LocalVolumeDriver implements VolumeDriver {
  readonly name = 'local';
  readonly #directory: string;
  readonly #users: VolumeUsers;
  readonly #serial = new Serial();

  constructor({ directory, runDirectory }: LocalVolumeDriverOptions) {
    this.#directory = directory;
    this.#users = new VolumeUsers(join(runDirectory, 'local'));
  }

  async create(name: string, options: Record<string, string>): Promise<void> {
    const device = parseLocalOptions(name, options);
    await this.#serial.run(name, async () => {
      const folder = this.#folder(name);
      await mkdir(folder, { recursive: true, mode: 0o711 });
      if (device !== undefined) await saveDevice(folder, device);
      else await rm(join(folder, 'device.json'), { force: true });
      // Last: it is what makes the volume.
      await mkdir(join(folder, '_data'), { recursive: true, mode: 0o755 });
    });
  }

  async remove(name: string): Promise<void> {
    if (!isVolumeName(name)) return;
    await this.#serial.run(name, async () => {
      const folder = this.#folder(name);
      await takeDownBelow(folder);
      // Gone as a volume by one rename; what a crash leaves of the removal is no volume any more.
      const grave = join(this.#directory, `.removed-${randomBytes(8).toString('hex')}`);
      try {
        await rename(folder, grave);
      } catch (error) {
        if (isErrno(error, 'ENOENT')) return;
        throw error;
      }
      await rm(grave, { recursive: true, force: true });
    });
  }

  async mount(name: string, user: string): Promise<{ mountpoint: string }> {
    const found = await this.get(name);
    if (found === undefined) throw volumeNotFound(name);
    const device = await readDevice(this.#folder(name));
    if (device !== undefined) await this.#serial.run(name, () => this.#mountFor(name, user, device));
    return { mountpoint: found.mountpoint };
  }

  /** Counted before it is mounted: a crash between leaves a user without a mount, which the next `mount` puts right. */
  async #mountFor(name: string, user: string, device: LocalDevice): Promise<void> {
    const fresh = await this.#users.add(name, user);
    const target = this.#data(name);
    if (isMounted(target)) return;
    try {
      await mountDevice(await resolveAddress(device), target);
    } catch (error) {
      if (fresh) await this.#users.remove(name, user);
      throw error;
    }
  }

  async unmount(name: string, user: string): Promise<void> {
    if (!isVolumeName(name)) return;
    await this.#serial.run(name, async () => {
      if (!(await this.#users.has(name, user))) return;
      if ((await this.#users.others(name, user)) === 0) await unmountDevice(this.#data(name));
      await this.#users.remove(name, user);
    });
  }

  async get(name: string): Promise<{ mountpoint: string } | undefined> {
    if (!isVolumeName(name)) return undefined;
    try {
      // The folder's entry, not what is mounted on it: a server that is gone must not hold this up.
      const names = await readdir(this.#folder(name));
      return names.includes('_data') ? { mountpoint: this.#data(name) } : undefined;
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  }

  async list(): Promise<{ name: string; mountpoint: string }[]> {
    const names = (await namesIn(this.#directory)).filter(isVolumeName).sort();
    const found = await Promise.all(names.map(async (name) => ({ name, volume: await this.get(name) })));
    return found.flatMap(({ name, volume }) => (volume === undefined ? [] : [{ name, mountpoint: volume.mountpoint }]));
  }

  /** Of a device: what it holds is not this host's, or not only this volume's. */
  async size(name: string): Promise<number | undefined> {
    const found = await this.get(name);
    if (found === undefined || (await readDevice(this.#folder(name))) !== undefined) return undefined;
    return folderBytes(found.mountpoint);
  }

  async recover(isUser: (user: string) => boolean): Promise<void> {
    for (const { volume, user } of await this.#users.inherited()) if (!isUser(user)) await this.unmount(volume, user);
    await this.#takeDownUnused();
    for (const name of await namesIn(this.#directory)) {
      const folder = join(this.#directory, name);
      if (isVolumeName(name)) {
        // Where a volume was being filled from an image.
        for (const part of await namesIn(folder))
          if (part.startsWith('.fill-')) await rm(join(folder, part), { recursive: true, force: true });
      } else if (name.startsWith('.removed-')) {
        await takeDownBelow(folder);
        await rm(folder, { recursive: true, force: true });
      }
    }
  }

  /** Mounts that nobody is known to use: of an engine whose run directory has gone. */
  async #takeDownUnused(): Promise<void> {
    for (const { mountPoint } of listMounts()) {
      const [name, data, ...rest] = mountPoint.startsWith(`${this.#directory}/`)
        ? mountPoint.slice(this.#directory.length + 1).split('/')
        : [];
      if (name === undefined || data !== '_data' || rest.length > 0) continue;
      await this.#serial.run(name, async () => {
        if ((await readDevice(this.#folder(name))) !== undefined && (await this.#users.of(name)).length === 0)
          await unmountDevice(mountPoint);
      });
    }
  }

  #folder(name: string): string {
    return join(this.#directory, name);
  }

  #data(name: string): string {
    return join(this.#directory, name, '_data');
  }
}

/** Nothing may be mounted below what is about to be deleted: its files are somebody else's. */
async function takeDownBelow(folder: string): Promise<void> {
  const below = () => listMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${folder}/`));
  for (const { mountPoint } of below().reverse()) unmountIfMounted(mountPoint);
  const [left] = below();
  if (left === undefined) return;
  throw new EngineError('Conflict', 'VOLUME_MOUNTED', `cannot remove what is below ${folder}: ${left.mountPoint} stays mounted`);
}

async function saveDevice(folder: string, device: LocalDevice): Promise<void> {
  const temporary = join(folder, `.device.json.${randomBytes(4).toString('hex')}`);
  // Options may hold a password.
  await writeFile(temporary, JSON.stringify({ version: 1, ...device }), { mode: 0o600 });
  await rename(temporary, join(folder, 'device.json'));
}

async function readDevice(folder: string): Promise<LocalDevice | undefined> {
  try {
    const { version, type, device, options } = JSON.parse(await readFile(join(folder, 'device.json'), 'utf8')) as LocalDevice & {
      version: number;
    };
    if (version !== 1) throw new EngineError('Unsupported', 'VOLUME_VERSION', `${folder}/device.json was written by a newer engine`);
    return { type, device, options };
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
