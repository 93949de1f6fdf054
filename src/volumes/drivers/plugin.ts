import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { Plugin, Plugins } from '../../plugins/port.ts';
import { isVolumeName, volumeNotFound } from '../names.ts';
import type { VolumeDriver, VolumeDriverFinder } from '../port.ts';
import { Serial } from '../serial.ts';
import { VolumeUsers } from '../users.ts';

/** For questions: a plugin that is stuck must not hold up a listing. */
const askMs = 3_000;
/** For work, as long as Docker waits. */
const workMs = 30_000;

/** A volume driver out of process, by Docker's volume plugin protocol. Errors of the plugin are Internal `PLUGIN_FAILED` in its own words. */
export class PluginVolumeDriver implements VolumeDriver {
  readonly name: string;
  readonly #client: Plugin;
  readonly #users: VolumeUsers;
  readonly #serial = new Serial();

  /** `users`: a folder in the run directory. */
  constructor(options: { name: string; client: Plugin; users: string }) {
    this.name = options.name;
    this.#client = options.client;
    this.#users = new VolumeUsers(options.users);
  }

  async create(name: string, options: Record<string, string>): Promise<void> {
    await this.#work('Create', { Name: name, Opts: options });
  }

  async remove(name: string): Promise<void> {
    if ((await this.get(name)) === undefined) return;
    await this.#work('Remove', { Name: name });
  }

  /** The plugin hears of each user once: many count calls and not users. */
  async mount(name: string, user: string): Promise<{ mountpoint: string }> {
    return this.#serial.run(name, async () => {
      const fresh = await this.#users.add(name, user);
      try {
        return { mountpoint: (fresh ? undefined : await this.#pathOf(name)) ?? (await this.#mountFor(name, user)) };
      } catch (error) {
        if (fresh) await this.#users.remove(name, user);
        throw error;
      }
    });
  }

  /** Undefined when the plugin does not know that it is mounted: it may have been started anew. */
  async #pathOf(name: string): Promise<string | undefined> {
    const { Mountpoint } = await this.#work('Path', { Name: name });
    return typeof Mountpoint === 'string' && Mountpoint !== '' ? Mountpoint : undefined;
  }

  async #mountFor(name: string, user: string): Promise<string> {
    if ((await this.get(name)) === undefined) throw volumeNotFound(name);
    const { Mountpoint } = await this.#work('Mount', { Name: name, ID: user });
    if (typeof Mountpoint === 'string' && Mountpoint.startsWith('/')) return Mountpoint;
    throw this.#failed('Mount', 'it gave no mount point');
  }

  async unmount(name: string, user: string): Promise<void> {
    await this.#serial.run(name, async () => {
      if (!(await this.#users.has(name, user))) return;
      await this.#work('Unmount', { Name: name, ID: user });
      await this.#users.remove(name, user);
    });
  }

  /** An answer with an error means that there is none: the protocol has no other way to say so. */
  async get(name: string): Promise<{ mountpoint: string; status?: Record<string, unknown> } | undefined> {
    const { Err, Volume } = await this.#client.call('VolumeDriver.Get', { Name: name }, askMs);
    if (Err || !isObject(Volume) || Volume.Name !== name) return undefined;
    const mountpoint = typeof Volume.Mountpoint === 'string' ? Volume.Mountpoint : '';
    return isObject(Volume.Status) && Object.keys(Volume.Status).length > 0 ? { mountpoint, status: Volume.Status } : { mountpoint };
  }

  async list(): Promise<{ name: string; mountpoint: string }[]> {
    const { Volumes } = await this.#checked('List', {}, askMs);
    if (!Array.isArray(Volumes)) return [];
    return Volumes.filter(isObject).flatMap(({ Name, Mountpoint }) =>
      typeof Name === 'string' && Name !== '' ? [{ name: Name, mountpoint: typeof Mountpoint === 'string' ? Mountpoint : '' }] : [],
    );
  }

  async size(): Promise<undefined> {
    return undefined;
  }

  async recover(isUser: (user: string) => boolean): Promise<void> {
    for (const { volume, user } of await this.#users.inherited()) if (!isUser(user)) await this.unmount(volume, user);
  }

  #work(method: string, body: unknown): Promise<Record<string, unknown>> {
    return this.#checked(method, body, workMs);
  }

  async #checked(method: string, body: unknown, timeoutMs: number): Promise<Record<string, unknown>> {
    const answer = await this.#client.call(`VolumeDriver.${method}`, body, timeoutMs);
    if (answer.Err) throw this.#failed(method, String(answer.Err));
    return answer;
  }

  #failed(method: string, why: string): EngineError {
    return new EngineError('Internal', 'PLUGIN_FAILED', `VolumeDriver.${method}: ${why}`, { hint: `So says the plugin ${this.name}.` });
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export type PluginVolumeDriversOptions = {
  /** `<run>/volumes/plugins`. */
  runDirectory: string;
  plugins: Plugins;
  /** What goes wrong where nobody waits. */
  onError(plugin: string, error: unknown): void;
};

/** Plugins that implement `VolumeDriver`, found by name when a volume asks for one. Nothing is asked of them before. */
export class PluginVolumeDrivers implements VolumeDriverFinder {
  readonly #options: PluginVolumeDriversOptions;
  readonly #found = new Map<string, VolumeDriver>();

  constructor(options: PluginVolumeDriversOptions) {
    this.#options = options;
  }

  async find(name: string): Promise<VolumeDriver | undefined> {
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    // It becomes a folder's name, and a volume's driver.
    if (!isVolumeName(name)) return undefined;
    const client = await this.#options.plugins.find(name, 'VolumeDriver');
    if (client === undefined) return undefined;
    const driver = new PluginVolumeDriver({ name, client, users: join(this.#options.runDirectory, name) });
    this.#found.set(name, driver);
    return driver;
  }

  active(): VolumeDriver[] {
    return [...this.#found.values()];
  }

  /** In the background: a plugin that is dead must not keep the engine from starting. */
  recover(isUser: (user: string) => boolean): void {
    this.#recover(isUser).catch((error) => this.#options.onError('', error));
  }

  async #recover(isUser: (user: string) => boolean): Promise<void> {
    for (const name of await namesIn(this.#options.runDirectory)) {
      try {
        await (await this.find(name))?.recover(isUser);
      } catch (error) {
        this.#options.onError(name, error);
      }
    }
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
