import { promises as fs, type Stats } from 'node:fs'; // node:fs/promises would be loaded by every command of the bundle
import { type ByteString, fromBuffer, toBytes, toPathBuffer, toText } from '../base/bytes.ts';
import { EngineError } from '../base/errors.ts';
import { createIgnore, type Ignore } from '../oci/ignore.ts';
import type { TarMember } from '../oci/tar/member.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../oci/tar/writer.ts';

const readBytes = 256 * 1024;

const empty = '' as ByteString;

export type TarOptions = {
  /** What the top is called in the tar; '' puts a folder's content at the top. */
  name?: string | undefined;
  ignore?: Ignore | undefined;
  /** Paths that no ignoring takes away. */
  always?: readonly string[] | undefined;
};

/**
 * A local folder or file as a tar: bytewise order of paths, names as bytes, everything owned by root. A file that gets shorter while it is read is
 * Conflict `FILE_CHANGED`; sockets and devices are left out.
 */
export async function* tarOf(path: string, options: TarOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
  const walker = new Walker(toBytes(path), options);
  yield* walker.top(await fs.lstat(path));
  yield endOfArchive;
}

class Walker {
  readonly #root: ByteString;
  readonly #name: ByteString;
  readonly #ignore: Ignore;
  readonly #always: ReadonlySet<string>;

  constructor(root: ByteString, { name = '', ignore = createIgnore([]), always = [] }: TarOptions) {
    this.#root = root;
    this.#name = toBytes(name);
    this.#ignore = ignore;
    this.#always = new Set(always.map(toBytes));
  }

  async *top(stats: Stats): AsyncGenerator<Uint8Array, void, undefined> {
    if (!stats.isDirectory()) yield* this.#entry(empty, stats);
    else {
      if (this.#name !== '') yield encodeTarHeader(member('directory', `${this.#name}/` as ByteString, stats));
      yield* this.#directory(empty);
    }
  }

  async *#directory(path: ByteString): AsyncGenerator<Uint8Array, void, undefined> {
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
    const header = encodeTarHeader(member('directory', `${this.#named(path)}/` as ByteString, stats));
    if (!ignored) yield header;
    else if (!this.#ignore.mayContainIncluded(path) && ![...this.#always].some((name) => name.startsWith(`${path}/`))) return;
    let written = !ignored;
    for await (const chunk of this.#directory(path)) {
      if (!written) yield header;
      written = true;
      yield chunk;
    }
  }

  async *#entry(path: ByteString, stats: Stats): AsyncGenerator<Uint8Array, void, undefined> {
    if (stats.isSymbolicLink()) {
      const target = fromBuffer(await fs.readlink(this.#full(path), { encoding: 'buffer' }));
      yield encodeTarHeader({ ...member('symlink', this.#named(path), stats), linkTarget: target });
    } else if (stats.isFile()) {
      yield encodeTarHeader({ ...member('file', this.#named(path), stats), size: stats.size });
      yield* this.#content(path, stats.size);
    } else if (stats.isFIFO()) yield encodeTarHeader(member('fifo', this.#named(path), stats));
  }

  async *#content(path: ByteString, size: number): AsyncGenerator<Uint8Array, void, undefined> {
    const handle = await fs.open(this.#full(path), 'r');
    try {
      for (let at = 0; at < size; ) {
        const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(readBytes, size - at)));
        if (bytesRead === 0) throw changed(this.#full(path));
        yield buffer.subarray(0, bytesRead);
        at += bytesRead;
      }
    } finally {
      await handle.close();
    }
    yield tarPadding(size);
  }

  /** Its name in the tar. */
  #named(path: ByteString): ByteString {
    return (this.#name === '' || path === '' ? this.#name + path : `${this.#name}/${path}`) as ByteString;
  }

  #full(path: ByteString): Buffer {
    return toPathBuffer((path === '' ? this.#root : `${this.#root}/${path}`) as ByteString);
  }
}

function changed(path: Buffer): EngineError {
  return new EngineError('Conflict', 'FILE_CHANGED', `${toText(fromBuffer(path))} became shorter while it was read`, {
    hint: 'Try again when nothing writes to it.',
  });
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
