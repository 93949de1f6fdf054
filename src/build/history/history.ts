import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { BuildEvent, BuildRecord, BuildRecords } from '../port.ts';

const formatVersion = 1;
/** Builds and bytes of their logs that are kept; the oldest go first. */
const keptBuilds = 100;
const keptBytes = 1024 ** 3;
/** Of output that waits for the disk; what comes beyond is counted and dropped, so that a step with endless output takes neither the memory nor its own time. */
const waitingBytes = 16 * 1024 * 1024;
const maxLogBytes = 512 * 1024 * 1024;

/**
 * What builds there were, and all that they said: `<id>/record.json` and `<id>/log` (a JSON event a line, output in base64) in one folder (docs/formats/build-history.md). Ids sort by time. Losing
 * it loses nothing but history, so nothing of it is synced.
 */
export class BuildHistory implements BuildRecords {
  readonly #directory: string;
  #lastMs = 0;

  constructor(options: { directory: string }) {
    this.#directory = options.directory;
  }

  /** Builds that a crash cut short are told as interrupted from now on. */
  async recover(): Promise<void> {
    for (const record of await this.list()) {
      if (record.state === 'running') await this.#write({ ...record, state: 'interrupted' });
    }
  }

  async begin(build: Pick<BuildRecord, 'name' | 'tags' | 'target'>): Promise<Recording> {
    await this.#makeRoom();
    const now = Date.now();
    // No two begin in the same millisecond, so that ids sort as builds began.
    this.#lastMs = Math.max(now, this.#lastMs + 1);
    const id = `${this.#lastMs.toString(36)}${randomBytes(4).toString('hex')}`;
    const record: BuildRecord = { ...build, id, startedAtMs: now, state: 'running', vertices: 0, cachedVertices: 0 };
    await mkdir(join(this.#directory, id), { recursive: true, mode: 0o700 });
    await this.#write(record);
    return new Recording(record, await open(join(this.#directory, id, 'log'), 'wx', 0o600), (finished) => this.#write(finished));
  }

  async list(): Promise<BuildRecord[]> {
    const records = await Promise.all((await this.#ids()).map((id) => this.#read(id)));
    return records.filter((record) => record !== undefined).sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  async get(idOrPrefix: string): Promise<BuildRecord> {
    const ids = (await this.#ids()).filter((id) => id.startsWith(idOrPrefix));
    const [id, other] = ids.includes(idOrPrefix) ? [idOrPrefix] : ids;
    const record = id === undefined || idOrPrefix === '' ? undefined : await this.#read(id);
    if (record === undefined) {
      throw new EngineError('NotFound', 'BUILD_NOT_FOUND', `No such build: ${idOrPrefix.slice(0, 100)}`, {
        hint: '"slipway build ls" lists those that are kept.',
      });
    }
    if (other === undefined) return record;
    throw new EngineError('InvalidArgument', 'BUILD_AMBIGUOUS', `several builds have an id that starts with ${idOrPrefix}`, {
      hint: 'Give more of it.',
    });
  }

  async *log(id: string): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of createReadStream(join(this.#directory, id, 'log'))) yield chunk as Buffer;
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }

  async #ids(): Promise<string[]> {
    try {
      return (await readdir(this.#directory)).filter((name) => /^[0-9a-z]+$/.test(name)).sort();
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    }
  }

  async #read(id: string): Promise<BuildRecord | undefined> {
    try {
      const { version, ...record } = JSON.parse(await readFile(join(this.#directory, id, 'record.json'), 'utf8')) as BuildRecord & {
        version: number;
      };
      return version === formatVersion ? record : undefined;
    } catch (error) {
      // Removed meanwhile, or torn by a crash of the host.
      if (isErrno(error, 'ENOENT', 'ENOTDIR') || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async #write(record: BuildRecord): Promise<void> {
    const path = join(this.#directory, record.id, 'record.json');
    await writeFile(`${path}.tmp`, `${JSON.stringify({ version: formatVersion, ...record })}\n`, { mode: 0o600 });
    await rename(`${path}.tmp`, path);
  }

  /** Running builds stay. */
  async #makeRoom(): Promise<void> {
    let bytes = 0;
    for (const [index, id] of (await this.#ids()).toReversed().entries()) {
      bytes += await stat(join(this.#directory, id, 'log')).then(
        ({ size }) => size,
        () => 0,
      );
      if (index < keptBuilds - 1 && bytes <= keptBytes) continue;
      if ((await this.#read(id))?.state !== 'running') await rm(join(this.#directory, id), { recursive: true, force: true });
    }
  }
}

/** One build while it runs. Never fails the build: what cannot be written is left out. */
export class Recording {
  readonly id: string;
  readonly #record: BuildRecord;
  readonly #file: FileHandle;
  readonly #save: (record: BuildRecord) => Promise<void>;
  #writing: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #written = 0;
  #dropped = 0;

  constructor(record: BuildRecord, file: FileHandle, save: (record: BuildRecord) => Promise<void>) {
    this.id = record.id;
    this.#record = record;
    this.#file = file;
    this.#save = save;
  }

  event(event: BuildEvent): void {
    const atMs = Date.now() - this.#record.startedAtMs;
    if (event.kind === 'output' && (this.#waiting > waitingBytes || this.#written > maxLogBytes)) {
      this.#dropped += event.data.length;
      return;
    }
    this.#tellDropped(atMs);
    this.#line({ atMs, ...event, ...(event.kind === 'output' ? { data: event.data.toString('base64') } : {}) });
  }

  async finish(end: Pick<BuildRecord, 'state'> & Partial<BuildRecord>): Promise<void> {
    this.#tellDropped(Date.now() - this.#record.startedAtMs);
    try {
      await this.#writing;
      await this.#file.close();
      await this.#save({ ...this.#record, ...end, finishedAtMs: Date.now() });
    } catch {
      // A full disk: the build counts, not what is told of it.
    }
  }

  #tellDropped(atMs: number): void {
    if (this.#dropped === 0) return;
    const message = `${this.#dropped} bytes of output are not in this log: they came faster than they could be written, or it is full`;
    this.#dropped = 0;
    this.#line({ atMs, kind: 'warning', message });
  }

  #line(value: unknown): void {
    const line = Buffer.from(`${JSON.stringify(value)}\n`);
    this.#waiting += line.length;
    this.#written += line.length;
    this.#writing = this.#writing
      .then(() => this.#file.appendFile(line))
      .catch(() => undefined)
      .finally(() => {
        this.#waiting -= line.length;
      });
  }
}
