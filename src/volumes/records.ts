import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { isVolumeName } from './names.ts';
import type { Volume } from './port.ts';

/** What the engine keeps of a volume, whichever driver has it. */
export type VolumeRecord = Omit<Volume, 'mountpoint' | 'status'>;

/** `<root>/volumes/<name>/volume.json` (docs/formats/volumes.md), renamed into place. */
export class VolumeRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async load(name: string): Promise<VolumeRecord | undefined> {
    if (!isVolumeName(name)) return undefined;
    try {
      const { version, ...record } = JSON.parse(await readFile(this.#path(name), 'utf8')) as VolumeRecord & { version: number };
      if (version !== 1)
        throw new EngineError('Unsupported', 'VOLUME_VERSION', `volume ${name} was made by a newer engine (format ${String(version)})`);
      return record;
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      if (error instanceof SyntaxError) throw damaged(name, error);
      throw error;
    }
  }

  async names(): Promise<string[]> {
    try {
      return (await readdir(this.#directory)).filter(isVolumeName).sort();
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    }
  }

  async save(record: VolumeRecord): Promise<void> {
    const folder = join(this.#directory, record.name);
    await mkdir(folder, { recursive: true, mode: 0o711 });
    const temporary = join(folder, `.volume.json.${randomBytes(4).toString('hex')}`);
    await writeFile(temporary, JSON.stringify({ version: 1, ...record }), { mode: 0o600 });
    await rename(temporary, this.#path(record.name));
  }

  /** The record alone: what else a driver keeps there stays. */
  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
    try {
      await rmdir(join(this.#directory, name));
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
    }
  }

  #path(name: string): string {
    return join(this.#directory, name, 'volume.json');
  }
}

function damaged(name: string, cause: unknown): EngineError {
  return new EngineError('DataLoss', 'VOLUME_DAMAGED', `the record of volume ${name} cannot be read`, {
    hint: 'Its files are untouched. Remove volume.json beside them and create the volume again.',
    cause,
  });
}
