import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import type { Volume, Volumes } from './port.ts';

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const nameLimitBytes = 255;
/** What is on disk: a volume without its mount point, which follows from where the engine's root is. */
type Saved = { version: 1 } & Omit<Volume, 'mountpoint'>;

export type LocalVolumesOptions = {
  /** `<root>/volumes`. */
  directory: string;
  /** Names of the containers that use a volume. */
  usedBy(name: string): readonly string[] | Promise<readonly string[]>;
};

/**
 * Volumes as folders: `<directory>/<name>/_data` and, beside it, `volume.json` (docs/formats/container.md, "Volumes"). A volume exists when
 * its JSON does, which is renamed into place last; a folder without one is what a crash left, and is made whole by the next creation.
 */
export class LocalVolumes implements Volumes {
  readonly #options: LocalVolumesOptions;

  constructor(options: LocalVolumesOptions) {
    this.#options = options;
  }

  async create(options: Parameters<Volumes['create']>[0]): Promise<Volume> {
    if (options.driver !== undefined && options.driver !== '' && options.driver !== 'local') {
      throw new EngineError('NotFound', 'VOLUME_DRIVER_NOT_FOUND', `no volume driver named "${options.driver}"`, {
        hint: 'The engine has the driver "local".',
      });
    }
    if (Object.keys(options.options ?? {}).length > 0) {
      throw new EngineError(
        'Unsupported',
        'VOLUME_OPTIONS_UNSUPPORTED',
        `the local driver takes no options, but "${Object.keys(options.options ?? {})[0]}" was given`,
        {
          hint: 'Bind-mount a host folder instead: -v /path:/inside.',
        },
      );
    }
    const name = options.name || randomBytes(32).toString('hex');
    const existing = await this.#load(name);
    if (existing) return existing;
    const volume: Volume = {
      name,
      driver: 'local',
      mountpoint: join(this.#directory(name), '_data'),
      createdAtMs: Date.now(),
      labels: options.labels ?? {},
      options: {},
      anonymous: !options.name,
    };
    await mkdir(volume.mountpoint, { recursive: true, mode: 0o755 });
    await this.#save(volume);
    return volume;
  }

  async get(name: string): Promise<Volume> {
    const volume = await this.#load(name);
    if (!volume)
      throw new EngineError('NotFound', 'VOLUME_NOT_FOUND', `get ${name}: no such volume`, {
        hint: 'Run "slipway volume ls" to see what there is.',
      });
    return volume;
  }

  async list(): Promise<Volume[]> {
    let names: string[];
    try {
      names = await readdir(this.#options.directory);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    }
    const volumes = await Promise.all(names.filter((name) => namePattern.test(name)).map((name) => this.#load(name)));
    return volumes.filter((volume) => volume !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async remove(name: string, options: { force?: boolean } = {}): Promise<void> {
    const volume = await this.#load(name);
    if (!volume) {
      if (options.force) return;
      await this.get(name);
    }
    const users = await this.#options.usedBy(name);
    if (users.length > 0) {
      throw new EngineError('Conflict', 'VOLUME_IN_USE', `remove ${name}: volume is in use - [${users.join(', ')}]`, {
        hint: 'Remove those containers first.',
      });
    }
    // The JSON goes first, so that what a crash leaves is no volume any more.
    await rm(join(this.#directory(name), 'volume.json'), { force: true });
    await rm(this.#directory(name), { recursive: true, force: true });
  }

  #directory(name: string): string {
    if (!namePattern.test(name) || name.length > nameLimitBytes) {
      throw new EngineError(
        'InvalidArgument',
        'VOLUME_NAME_INVALID',
        `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed`,
        {
          hint: 'To mount a host folder, give its absolute path.',
        },
      );
    }
    return join(this.#options.directory, name);
  }

  async #load(name: string): Promise<Volume | undefined> {
    const directory = this.#directory(name);
    try {
      const { version, ...saved } = JSON.parse(await readFile(join(directory, 'volume.json'), 'utf8')) as Saved;
      if (version !== 1)
        throw new EngineError('Unsupported', 'VOLUME_VERSION', `volume ${name} was made by a newer engine (format ${String(version)})`);
      return { ...saved, mountpoint: join(directory, '_data') };
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  }

  async #save(volume: Volume): Promise<void> {
    const { mountpoint: _, ...rest } = volume;
    const saved: Saved = { version: 1, ...rest };
    const directory = this.#directory(volume.name);
    const temporary = join(directory, `.volume.json.${randomBytes(4).toString('hex')}`);
    await writeFile(temporary, JSON.stringify(saved));
    await rename(temporary, join(directory, 'volume.json'));
  }
}
