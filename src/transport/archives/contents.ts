import { open } from 'node:fs/promises';
import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, sha256 } from '../../oci/digest.ts';
import { damaged } from '../untar/job.ts';
import type { ScannedMember, ScanResult } from './scan.ts';

const maxLinks = 16;

/** Where a file of the archive lies in it. */
export type BoundedRange = { readonly file: string; readonly offset: number; readonly length: number };

/** The files of an image archive by path. The last of several with one name counts, as tar has it. */
export class ArchiveContents {
  readonly what: string;
  readonly #file: string;
  readonly #members = new Map<string, ScannedMember>();

  constructor(scanned: ScanResult, what: string) {
    this.what = what;
    this.#file = scanned.file;
    for (const member of scanned.members) this.#members.set(normalize(toText(member.name)), member);
  }

  has(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  /** Where a file's bytes lie. Throws InvalidArgument `ARCHIVE_INVALID` when it is not there. */
  range(path: string): BoundedRange {
    const member = this.#find(path);
    if (member === undefined) throw this.invalid(`the file "${path.slice(0, 200)}" is missing from it`);
    return { file: this.#file, offset: member.dataOffset, length: member.size };
  }

  /** A small file whole. Throws `ARCHIVE_INVALID` when it is missing or larger than `limit`. */
  async read(path: string, limit: number): Promise<Buffer> {
    const { file, offset, length } = this.range(path);
    if (length > limit) throw this.invalid(`its file "${path.slice(0, 200)}" has ${length} bytes, at most ${limit} are allowed`);
    await using handle = await open(file, 'r');
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset);
    if (bytesRead < length) throw this.invalid(`its file "${path.slice(0, 200)}" is cut short`);
    return buffer;
  }

  /** A blob of an OCI layout, checked: DataLoss `BLOB_DAMAGED` when its bytes are not what its name says. */
  async readBlob(digest: Digest, limit: number): Promise<Buffer> {
    const bytes = await this.read(blobPath(digest), limit);
    const read = digestOf(sha256(bytes));
    if (read !== digest) throw damaged('BLOB_DAMAGED', `a blob of ${this.what}`, digest, read);
    return bytes;
  }

  invalid(problem: string): EngineError {
    return new EngineError('InvalidArgument', 'ARCHIVE_INVALID', `${this.what} cannot be loaded: ${problem}`, {
      hint: 'Load what "docker save", "podman save" or "skopeo copy" wrote; a root file system goes in with "slipway import".',
    });
  }

  /** Links inside the archive are followed: Docker wrote a layer that several images share once, and links for the others. */
  #find(path: string): ScannedMember | undefined {
    let at = normalize(path);
    for (let links = 0; links < maxLinks; links++) {
      const member = this.#members.get(at);
      if (member === undefined || member.type === 'file') return member;
      const target = toText(member.linkTarget as ByteString);
      if (member.type === 'link') at = normalize(target);
      else if (member.type === 'symlink') at = normalize(`${at}/../${target}`);
      else return undefined;
    }
    return undefined;
  }
}

export function blobPath(digest: Digest): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`;
}

function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}
