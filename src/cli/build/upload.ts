import { promises as fs, type Stats } from 'node:fs'; // node:fs/promises would be loaded by every command of the bundle
import { type ByteString, fromBuffer, toBytes, toPathBuffer } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { createIgnore, type Ignore } from '../../oci/ignore.ts';
import type { TarMember } from '../../oci/tar/member.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../oci/tar/writer.ts';

const readBytes = 256 * 1024;

const empty = '' as ByteString;

/**
 * A folder as a tar, for a daemon that does not see it: everything that its .dockerignore keeps, in bytewise order of paths, names as bytes, owners left out.
 * The Dockerfile and the .dockerignore are always part of it. A file that changes its length while it is read is an error.
 */
export async function* tarDirectory(directory: string, dockerfile: string): AsyncGenerator<Uint8Array, void, undefined> {
  const root = toBytes(directory);
  const ignore = await readIgnore(directory, dockerfile);
  const always = new Set<string>([toBytes(dockerfile), toBytes(`${dockerfile}.dockerignore`), '.dockerignore']);
  const walker = new Walker(root, ignore, always);
  yield* walker.directory(empty);
  yield endOfArchive;
}

export async function* emptyTar(): AsyncGenerator<Uint8Array, void, undefined> {
  yield endOfArchive;
}

/** `<Dockerfile>.dockerignore` wins over `.dockerignore`. */
async function readIgnore(directory: string, dockerfile: string): Promise<Ignore> {
  for (const name of [`${dockerfile}.dockerignore`, '.dockerignore']) {
    try {
      return createIgnore((await fs.readFile(`${directory}/${name}`, 'utf8')).split(/\r?\n/));
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
  return createIgnore([]);
}

class Walker {
  readonly #root: ByteString;
  readonly #ignore: Ignore;
  readonly #always: ReadonlySet<string>;

  constructor(root: ByteString, ignore: Ignore, always: ReadonlySet<string>) {
    this.#root = root;
    this.#ignore = ignore;
    this.#always = always;
  }

  async *directory(path: ByteString): AsyncGenerator<Uint8Array, void, undefined> {
    const names = (await fs.readdir(this.#full(path), { encoding: 'buffer' })).map(fromBuffer).sort();
    for (const name of names) {
      const child = (path === '' ? name : `${path}/${name}`) as ByteString;
      const stats = await fs.lstat(this.#full(child));
      const ignored = !this.#always.has(child) && this.#ignore.ignores(child, stats.isDirectory());
      if (stats.isDirectory()) yield* this.#subdirectory(child, stats, ignored);
      else if (!ignored) yield* this.#entry(child, stats);
    }
  }

  /** An ignored folder is there when something below it is. */
  async *#subdirectory(path: ByteString, stats: Stats, ignored: boolean): AsyncGenerator<Uint8Array, void, undefined> {
    const header = encodeTarHeader(member('directory', `${path}/` as ByteString, stats));
    if (!ignored) yield header;
    else if (!this.#ignore.mayContainIncluded(path) && ![...this.#always].some((name) => name.startsWith(`${path}/`))) return;
    let written = !ignored;
    for await (const chunk of this.directory(path)) {
      if (!written) yield header;
      written = true;
      yield chunk;
    }
  }

  async *#entry(path: ByteString, stats: Stats): AsyncGenerator<Uint8Array, void, undefined> {
    if (stats.isSymbolicLink()) {
      const target = fromBuffer(await fs.readlink(this.#full(path), { encoding: 'buffer' }));
      yield encodeTarHeader({ ...member('symlink', path, stats), linkTarget: target });
    } else if (stats.isFile()) {
      yield encodeTarHeader({ ...member('file', path, stats), size: stats.size });
      yield* this.#content(path, stats.size);
    } else if (stats.isFIFO()) yield encodeTarHeader(member('fifo', path, stats));
    // Sockets mean nothing elsewhere, and devices of a context are refused by the daemon: both are left out, as Docker leaves out sockets.
  }

  async *#content(path: ByteString, size: number): AsyncGenerator<Uint8Array, void, undefined> {
    const handle = await fs.open(this.#full(path), 'r');
    try {
      for (let at = 0; at < size; ) {
        const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(readBytes, size - at)));
        if (bytesRead === 0) throw changed(path);
        yield buffer.subarray(0, bytesRead);
        at += bytesRead;
      }
    } finally {
      await handle.close();
    }
    yield tarPadding(size);
  }

  #full(path: ByteString): Buffer {
    return toPathBuffer((path === '' ? this.#root : `${this.#root}/${path}`) as ByteString);
  }
}

function changed(path: ByteString): EngineError {
  return new EngineError(
    'Conflict',
    'CONTEXT_CHANGED',
    `${Buffer.from(path, 'latin1').toString('utf8')} became shorter while it was read`,
    {
      hint: 'Build again when nothing writes to the context.',
    },
  );
}

function member(type: TarMember['type'], name: ByteString, stats: Stats): TarMember {
  const mtimeSec = Math.floor(stats.mtimeMs / 1000);
  return {
    type,
    name,
    linkTarget: empty,
    size: 0,
    mode: stats.mode & 0o7777,
    uid: 0,
    gid: 0,
    mtimeSec,
    mtimeNsec: Math.min(999_999_999, Math.max(0, Math.round((stats.mtimeMs / 1000 - mtimeSec) * 1e9))),
    major: 0,
    minor: 0,
    xattrs: [],
  };
}
