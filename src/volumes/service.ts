import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { EngineError } from '../base/errors.ts';
import { checkVolumeName, isVolumeName, volumeNotFound } from './names.ts';
import type { Volume, VolumeDriver, VolumeDriverFinder, Volumes } from './port.ts';
import { type VolumeRecord, VolumeRecords } from './records.ts';
import { Serial } from './serial.ts';
import { Subpaths } from './subpaths.ts';

export type VolumeServiceOptions = {
  /** `<root>/volumes`. */
  directory: string;
  /** `<run>/volumes`. */
  runDirectory: string;
  /** The first one is what is meant when none is named. */
  drivers: readonly [VolumeDriver, ...VolumeDriver[]];
  plugins?: VolumeDriverFinder | undefined;
  /** Ids of the containers that use a volume. */
  usedBy(name: string): readonly string[] | Promise<readonly string[]>;
  /** Whoever asked for it: a client, or a container that needs one. */
  onEvent?: ((action: 'create' | 'destroy', volume: { name: string; driver: string }) => void) | undefined;
};

/** Docker's label for a volume that nobody gave a name. */
const anonymousLabel = 'com.docker.volume.anonymous';

/** Volumes over their drivers. A volume exists when its driver has it; the record adds labels and options. */
export class VolumeService implements Volumes {
  readonly #options: VolumeServiceOptions;
  readonly #records: VolumeRecords;
  readonly #subpaths: Subpaths;
  readonly #serial = new Serial();

  constructor(options: VolumeServiceOptions) {
    this.#options = options;
    this.#records = new VolumeRecords(options.directory);
    this.#subpaths = new Subpaths(join(options.runDirectory, 'subpaths'));
  }

  async create(request: Parameters<Volumes['create']>[0]): Promise<Volume> {
    const name = request.name || randomBytes(32).toString('hex');
    checkVolumeName(name);
    return this.#serial.run(name, () => this.#createLocked(name, request));
  }

  async #createLocked(name: string, request: Parameters<Volumes['create']>[0]): Promise<Volume> {
    const { labels = {}, options = {} } = request;
    const existing = await this.#find(name);
    if (existing) {
      checkSame(existing, { driver: request.driver, options });
      return existing;
    }
    const driver = await this.#driver(request.driver || this.#options.drivers[0].name, `create ${name}`);
    await driver.create(name, options);
    const anonymous = request.anonymous ?? !request.name;
    await this.#records.save({
      name,
      driver: driver.name,
      createdAtMs: Date.now(),
      labels: anonymous ? { ...labels, [anonymousLabel]: '' } : labels,
      options,
      anonymous,
    });
    this.#options.onEvent?.('create', { name, driver: driver.name });
    return this.get(name);
  }

  async get(name: string): Promise<Volume> {
    const volume = await this.#find(name);
    if (!volume) throw volumeNotFound(name);
    return volume;
  }

  async list(): Promise<Volume[]> {
    const records = await Promise.all((await this.#records.names()).map((name) => this.#records.load(name).catch(withoutDamaged)));
    const known = await Promise.all(records.flatMap((record) => (record === undefined ? [] : [this.#listed(record)])));
    const volumes = known.filter((volume) => volume !== undefined);
    const names = new Set(volumes.map(({ name }) => name));
    // One that does not answer keeps nobody from seeing the others' volumes.
    const others = await Promise.all(this.#active().map(async (driver) => ({ driver, found: await driver.list().catch(() => []) })));
    for (const { driver, found } of others) {
      for (const { name, mountpoint } of found) {
        if (names.has(name)) continue;
        names.add(name);
        volumes.push(strange(name, driver.name, mountpoint));
      }
    }
    return volumes.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async mount(name: string, user: string, { subpath }: { subpath?: string | undefined } = {}): Promise<string> {
    const driver = isVolumeName(name) ? await this.#driverOf(name) : undefined;
    if (driver === undefined) throw volumeNotFound(name);
    const { mountpoint } = await driver.mount(name, user);
    if (!subpath) return mountpoint;
    try {
      return this.#subpaths.mount(mountpoint, subpath, { user, volume: name });
    } catch (error) {
      await this.unmount(name, user);
      throw error;
    }
  }

  async unmount(name: string, user: string): Promise<void> {
    if (!isVolumeName(name)) return;
    this.#subpaths.unmount({ user, volume: name });
    await (await this.#driverOf(name))?.unmount(name, user);
  }

  async recover(isUser: (user: string) => boolean): Promise<void> {
    for (const owner of this.#subpaths.users()) if (!isUser(owner.user)) this.#subpaths.unmount(owner);
    this.#options.plugins?.recover(isUser);
    for (const driver of this.#options.drivers) await driver.recover(isUser);
  }

  drivers(): string[] {
    return [...this.#options.drivers, ...this.#active()].map(({ name }) => name).sort();
  }

  async size(name: string): Promise<number | undefined> {
    return (await this.#driverOf(name))?.size(name);
  }

  async remove(name: string, options: { force?: boolean } = {}): Promise<void> {
    await this.#serial.run(name, async () => {
      const record = await this.#records.load(name);
      const volume = await this.#find(name).catch((error) => {
        if (options.force && record) return undefined;
        throw error;
      });
      if (!volume && !record) {
        if (options.force) return;
        throw volumeNotFound(name);
      }
      const users = await this.#options.usedBy(name);
      if (users.length > 0) {
        throw new EngineError('Conflict', 'VOLUME_IN_USE', `remove ${name}: volume is in use - [${users.join(', ')}]`, {
          hint: 'Remove those containers first.',
        });
      }
      const removed = this.#driverOf(name).then((driver) => driver?.remove(name));
      // Forced: the engine forgets what its driver cannot or will not remove.
      await (options.force ? removed.catch(() => undefined) : removed);
      await this.#records.remove(name);
      this.#options.onEvent?.('destroy', { name, driver: record?.driver ?? volume?.driver ?? '' });
    });
  }

  async #find(name: string): Promise<Volume | undefined> {
    if (!isVolumeName(name)) return undefined;
    const record = await this.#records.load(name);
    if (record !== undefined) {
      const driver = await this.#driver(record.driver, `get ${name}`);
      const found = await driver.get(name);
      return found && { ...record, ...found };
    }
    for (const driver of this.#active()) {
      const found = await driver.get(name).catch(() => undefined);
      if (found) return { ...strange(name, driver.name, found.mountpoint), ...found };
    }
    return undefined;
  }

  /** A plugin that is away does not hide its volumes. */
  async #listed(record: VolumeRecord): Promise<Volume | undefined> {
    const own = this.#options.drivers.find(({ name }) => name === record.driver);
    if (own === undefined) return { ...record, mountpoint: '' };
    const found = await own.get(record.name);
    return found && { ...record, ...found };
  }

  async #driverOf(name: string): Promise<VolumeDriver | undefined> {
    const record = await this.#records.load(name);
    if (record !== undefined) return this.#driver(record.driver, `get ${name}`);
    for (const driver of this.#active()) if (await driver.get(name).catch(() => undefined)) return driver;
    return undefined;
  }

  async #driver(name: string, what: string): Promise<VolumeDriver> {
    const driver = this.#options.drivers.find((own) => own.name === name) ?? (await this.#options.plugins?.find(name));
    if (driver) return driver;
    throw new EngineError(
      'NotFound',
      'VOLUME_DRIVER_NOT_FOUND',
      `${what}: error looking up volume plugin ${name}: plugin "${name}" not found`,
      {
        hint: `The engine has the driver${this.drivers().length === 1 ? '' : 's'} ${this.drivers().join(', ')}.`,
      },
    );
  }

  #active(): VolumeDriver[] {
    return this.#options.plugins?.active() ?? [];
  }
}

/** One damaged record must not hide the others; asked for by name, it says so. */
function withoutDamaged(error: unknown): undefined {
  if (error instanceof EngineError && error.kind === 'DataLoss') return undefined;
  throw error;
}

/** One that a plugin has and that was not made here. */
function strange(name: string, driver: string, mountpoint: string): Volume {
  return { name, driver, mountpoint, createdAtMs: 0, labels: {}, options: {}, anonymous: false };
}

function checkSame(existing: Volume, wanted: { driver: string | undefined; options: Record<string, string> }): void {
  const conflict = (why: string) =>
    new EngineError('Conflict', 'VOLUME_EXISTS', `create ${existing.name}: ${why}: volume name must be unique`, {
      hint: `Remove the other one first: slipway volume rm ${existing.name}`,
    });
  if (wanted.driver && wanted.driver !== existing.driver)
    throw conflict(`driver '${existing.driver}' already has volume '${existing.name}'`);
  const keys = new Set([...Object.keys(wanted.options), ...Object.keys(existing.options)]);
  const differs = [...keys].find((key) => wanted.options[key] !== existing.options[key]);
  if (Object.keys(wanted.options).length > 0 && differs !== undefined) {
    throw conflict(`it exists with ${differs}=${existing.options[differs] ?? ''}, not ${differs}=${wanted.options[differs] ?? ''}`);
  }
}
