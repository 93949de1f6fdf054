import { closeSync } from 'node:fs';
import { posix } from 'node:path';
import { type ByteString, toBytes, toPathBuffer, toText } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { DirectoryReader } from '../../kernel/directory.ts';
import { O, openIn, setTimesFd } from '../../kernel/files.ts';
import type { RootView } from '../../kernel/root-view.ts';
import { showName, type TarMember } from '../../oci/tar/member.ts';
import { TarReader, type TarSink } from '../../oci/tar/reader.ts';
import type { TreeContext } from '../../store/port.ts';
import { type Asked, evaluatePath, explainPath, type LiveRoot, openLiveRoot } from './live-root.ts';
import { type Owner, Owners } from './owners.ts';
import { Placer } from './placer.ts';
import { readUploadedTar } from './upload-tar.ts';

export type ExtractParams = {
  root: LiveRoot;
  /** A directory of the container. */
  path: string;
  /** The tar; plain, gzip, zstd, bzip2 or xz. */
  file: string;
  /** Refuse to replace a directory by something else, and the other way round. */
  keepTypes: boolean;
  /** Who everything is to belong to, as inside; what the tar says when not given. */
  owner?: Owner | undefined;
  /** What the container may not write to: its root, and what is mounted. */
  readOnly: { root: boolean; mounts: readonly { destination: string; readOnly: boolean }[] };
};

const membersBetweenReports = 100;

/**
 * Job `api.extract`: puts a tar's members into a directory of a container, which may be running and hostile. Every name is resolved inside the
 * container's root by the kernel (openat2), its last part never followed. An existing entry is replaced, unless `keepTypes` forbids it; directories
 * merge. InvalidArgument for a damaged tar; what was put before stays, as with tar.
 */
export async function extractIntoRoot(context: Pick<TreeContext, 'report'>, params: ExtractParams): Promise<void> {
  using extraction = new Extraction(params);
  let members = 0;
  const put = (member: TarMember) => {
    if (++members % membersBetweenReports === 0) context.report({ members });
    return extraction.put(member);
  };
  const reader = new TarReader(put, { what: 'the archive', requireEnd: false });
  for await (const chunk of readUploadedTar(params.file)) reader.push(chunk);
  reader.end();
  extraction.finish();
}

class Extraction implements Disposable {
  readonly #reader = new DirectoryReader();
  readonly #view: RootView;
  readonly #base: string;
  readonly #placer: Placer;
  /** Directories get their times last: what is put into them would change them. */
  readonly #directories: { path: ByteString; member: TarMember }[] = [];

  constructor({ root, path, keepTypes, owner, readOnly }: ExtractParams) {
    const owners = new Owners(root.idMap);
    this.#placer = new Placer(this.#reader, { owners, owner: owner && owners.outside(owner), keepTypes });
    this.#base = posix.normalize(`/${path}`);
    this.#view = openLiveRoot(root, this.#reader);
    try {
      checkDirectory(this.#view.root, this.#base, { path, container: root.container });
      checkWritable(toText(evaluatePath(this.#view.root, toBytes(this.#base), this.#reader)), readOnly);
    } catch (error) {
      this.#view.close();
      throw error;
    }
  }

  put(member: TarMember): TarSink | undefined {
    const path = cleanName(member.name, member);
    if (path === '') return undefined;
    try {
      return this.#putAt(path, member);
    } catch (cause) {
      if (!isErrno(cause, 'ENOENT', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ENOTEMPTY', 'ELOOP')) throw cause;
      const why = 'a part of its path is not what it has to be, or was exchanged meanwhile';
      throw new EngineError('Conflict', 'PATH_CONFLICT', `the archive's member ${showName(member.name)} cannot be put there: ${why}`, {
        cause,
      });
    }
  }

  #putAt(path: ByteString, member: TarMember): TarSink | undefined {
    const { directory, name } = split(path);
    const parent = this.#openParent(directory);
    try {
      if (member.type === 'link') {
        this.#link(parent, name, member);
        return undefined;
      }
      if (member.type === 'directory') this.#directories.push({ path, member });
      return this.#placer.put(parent, name, member);
    } finally {
      closeSync(parent);
    }
  }

  finish(): void {
    for (const { path, member } of this.#directories.reverse()) {
      try {
        const fd = openIn(this.#view.root, this.#inBase(path), O.RDONLY | O.DIRECTORY);
        try {
          setTimesFd(fd, member.mtimeSec, member.mtimeNsec);
        } finally {
          closeSync(fd);
        }
      } catch (error) {
        // A later member, or the container, put something else there.
        if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#placer.close();
    this.#view.close();
  }

  #inBase(path: ByteString): Buffer {
    return Buffer.concat([Buffer.from(`${this.#base}/`), toPathBuffer(path)]);
  }

  /** Missing directories on the way are made, as tar does. */
  #openParent(path: ByteString): number {
    try {
      return openIn(this.#view.root, this.#inBase(path), O.RDONLY | O.DIRECTORY);
    } catch (error) {
      if (!isErrno(error, 'ENOENT') || path === '') throw error;
    }
    const { directory, name } = split(path);
    const grandparent = this.#openParent(directory);
    try {
      this.#placer.makeParent(grandparent, name);
    } finally {
      closeSync(grandparent);
    }
    return openIn(this.#view.root, this.#inBase(path), O.RDONLY | O.DIRECTORY);
  }

  #link(parent: number, name: ByteString, member: TarMember): void {
    const source = split(cleanName(member.linkTarget, member));
    const from = this.#openParent(source.directory);
    try {
      this.#placer.link({ parent: from, name: source.name }, { parent, name }, member);
    } finally {
      closeSync(from);
    }
  }
}

function checkDirectory(root: number, path: string, asked: Asked): void {
  try {
    closeSync(openIn(root, path, O.PATH | O.DIRECTORY));
  } catch (error) {
    if (isErrno(error, 'ENOTDIR'))
      throw new EngineError('InvalidArgument', 'NOT_A_DIRECTORY', 'extraction point is not a directory', { cause: error });
    throw explainPath(error, asked);
  }
}

/** Docker's rule, and its words: by the path, whether or not the kernel would let the engine write there. */
function checkWritable(path: string, { root, mounts }: ExtractParams['readOnly']): void {
  const on = mounts
    .filter(({ destination }) => path === destination || path.startsWith(`${destination}/`))
    .reduce<{ destination: string; readOnly: boolean } | undefined>(
      (a, b) => (a && a.destination.length > b.destination.length ? a : b),
      undefined,
    );
  if (on?.readOnly) throw readOnlyError('mounted volume is marked read-only');
  if (on === undefined && root) throw readOnlyError('container rootfs is marked read-only');
}

export function readOnlyError(message: string, cause?: unknown): EngineError {
  return new EngineError('InvalidArgument', 'READ_ONLY', message, { cause });
}

function split(path: ByteString): { directory: ByteString; name: ByteString } {
  const slash = path.lastIndexOf('/');
  return { directory: path.slice(0, Math.max(slash, 0)) as ByteString, name: path.slice(slash + 1) as ByteString };
}

/** Relative and clean; '' for the directory itself. One that leads out of the directory is refused. */
function cleanName(name: ByteString, member: TarMember): ByteString {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) {
      throw new EngineError(
        'InvalidArgument',
        'TAR_MEMBER_REFUSED',
        `the archive's member ${showName(member.name)} is refused: it leads upwards`,
      );
    }
  }
  return parts.join('/') as ByteString;
}
