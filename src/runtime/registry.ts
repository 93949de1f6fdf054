import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { EngineError, isErrno } from '../base/errors.ts';
import { Container, type Intent, type Run } from './container.ts';
import { checkName, randomName } from './names.ts';
import type { RuntimePaths } from './paths.ts';
import type { ContainerRecord } from './port.ts';

/** container.json, docs/formats/container.md. */
type Saved = { version: 1; record: ContainerRecord; run?: Run | undefined; intent?: Intent | undefined };

/** All containers: in memory by id and by name, on disk one JSON file each. */
export class Registry {
  readonly #paths: RuntimePaths;
  readonly #byId = new Map<string, Container>();
  readonly #ids = new Map<string, string>();

  constructor(paths: RuntimePaths) {
    this.#paths = paths;
  }

  all(): Container[] {
    return [...this.#byId.values()];
  }

  byId(id: string): Container | undefined {
    return this.#byId.get(id);
  }

  /** By id, name (with or without a slash), or the start of an id when only one has it. */
  find(name: string): Container {
    const plain = name.replace(/^\//, '');
    const exact = this.#byId.get(plain) ?? this.#byId.get(this.#ids.get(plain) ?? '');
    if (exact) return exact;
    const matches = /^[0-9a-f]{1,64}$/.test(plain) ? this.all().filter(({ id }) => id.startsWith(plain)) : [];
    if (matches.length > 1) {
      throw new EngineError('InvalidArgument', 'CONTAINER_AMBIGUOUS', `multiple containers have an ID that starts with "${plain}"`, {
        hint: 'Give more of the ID, or the name.',
      });
    }
    if (matches[0]) return matches[0];
    throw noSuchContainer(name);
  }

  /** Takes a name for an id, or makes one up. A holder that is going is waited for. Conflict `NAME_IN_USE` tells the holder. */
  async claimName(wanted: string | undefined, id: string): Promise<string> {
    if (wanted === undefined || wanted === '') {
      let name = randomName();
      while (this.#ids.has(name)) name = randomName(name);
      this.#ids.set(name, id);
      return name;
    }
    const name = checkName(wanted.replace(/^\//, ''));
    for (let holder = this.#holder(name); holder; holder = this.#holder(name)) {
      if (holder.isGoing) {
        const gone = holder;
        await gone.waitFor(() => gone.removed || !gone.isGoing || undefined);
      } else throw nameInUse(name, holder.id);
    }
    const claimant = this.#ids.get(name);
    if (claimant !== undefined) throw nameInUse(name, claimant);
    this.#ids.set(name, id);
    return name;
  }

  #holder(name: string): Container | undefined {
    return this.#byId.get(this.#ids.get(name) ?? '');
  }

  releaseName(name: string, id: string): void {
    if (this.#ids.get(name) === id) this.#ids.delete(name);
  }

  add(container: Container): void {
    this.#byId.set(container.id, container);
    this.#ids.set(container.record.name, container.id);
  }

  /** Forgets it and removes its folder. */
  async delete(container: Container): Promise<void> {
    await rm(this.#paths.container(container.id), { recursive: true, force: true });
    this.#byId.delete(container.id);
    this.releaseName(container.record.name, container.id);
  }

  /** Whole or not at all, but not forced to the disk: after power loss an older record may stand, which adoption sorts out. */
  async save(container: Container): Promise<void> {
    const saved: Saved = { version: 1, record: container.record, run: container.run, intent: container.intent };
    const path = this.#paths.container(container.id, 'container.json');
    try {
      await writeFile(`${path}.tmp`, JSON.stringify(saved), { mode: 0o600 });
      await rename(`${path}.tmp`, path);
    } catch (error) {
      await rm(`${path}.tmp`, { force: true });
      throw error;
    }
  }

  /**
   * As `save`, for steps that end things: a full disk does not stand in their way, for they are how it gets room. What stands on the disk
   * then is the state before, from which adoption finds out again what happened. False when there was no room.
   */
  async saveIfRoom(container: Container): Promise<boolean> {
    try {
      await this.save(container);
      return true;
    } catch (error) {
      if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error;
      return false;
    }
  }

  async prepareFolder(id: string): Promise<void> {
    await mkdir(this.#paths.log(id), { recursive: true, mode: 0o710 });
  }

  /** Reads what is on disk. Folders without a readable record (a crash before the first save) are answered as `broken`. */
  async load(): Promise<{ broken: string[] }> {
    await mkdir(this.#paths.containers, { recursive: true, mode: 0o710 });
    const broken: string[] = [];
    for (const id of await readdir(this.#paths.containers)) {
      const saved = await this.#read(id);
      if (!saved) {
        broken.push(id);
        continue;
      }
      const container = new Container(saved.record);
      container.run = saved.run;
      container.intent = saved.intent;
      this.add(container);
    }
    return { broken };
  }

  async #read(id: string): Promise<Saved | undefined> {
    const path = this.#paths.container(id, 'container.json');
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
    let saved: Saved;
    try {
      saved = JSON.parse(text) as Saved;
    } catch {
      // Not synced: power loss can leave it empty.
      return undefined;
    }
    if (saved.version !== 1) {
      throw new EngineError('Unsupported', 'CONTAINER_VERSION', `${path} was written by a newer engine (format ${String(saved.version)})`, {
        hint: 'Run the newer engine, or remove that folder.',
      });
    }
    return saved;
  }
}

export function noSuchContainer(name: string): EngineError {
  return new EngineError('NotFound', 'CONTAINER_NOT_FOUND', `No such container: ${name}`, {
    hint: 'Run "slipway ps -a" to see what there is.',
  });
}

function nameInUse(name: string, holder: string): EngineError {
  return new EngineError(
    'Conflict',
    'NAME_IN_USE',
    `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
    { hint: `Run "slipway rm ${name}", or choose another name.` },
  );
}
