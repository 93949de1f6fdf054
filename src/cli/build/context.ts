import { readFileSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import type { SharedContext } from '../../api-types/build.ts';
import { EngineError } from '../../base/errors.ts';
import { cannot, openInput } from '../files.ts';
import { usageError } from '../flags.ts';

/** A Dockerfile from outside of the context travels in a header up to this size (docs/formats/api.md). */
const maxHeaderDockerfile = 48 * 1024;

export type Context =
  | { kind: 'directory'; path: string; shared: SharedContext }
  /** A tar on standard input. */
  | { kind: 'stream'; body: AsyncIterable<Uint8Array> }
  /** Nothing but a Dockerfile. */
  | { kind: 'empty' };

/** `name`: where it is in the context, or what messages call it when `text` is given. */
export type Dockerfile = { name: string; text?: string | undefined };

/** What `PATH|-` and `-f` mean. Reads the Dockerfile when it is not part of the context. Throws `USAGE` or InvalidArgument `FILE`. */
export async function resolveContext(place: string, file: string | undefined): Promise<{ context: Context; dockerfile: Dockerfile }> {
  if (place === '-') return fromStandardInput(file);
  if (/^(?:https?|git|ssh):\/\/|^git@|\.git(?:#|$)/.test(place)) {
    throw usageError(`cannot build from ${place}`, 'Fetch it first and build from the folder.');
  }
  const path = resolve(place);
  const shared = describe(path, place);
  return { context: { kind: 'directory', path, shared }, dockerfile: await findDockerfile(path, place, file) };
}

/** The folder of a build whose definition is no file of it. */
export function resolveFolder(place: string): Context {
  if (place === '-') throw usageError('a build definition needs a folder: a context on standard input has none');
  const path = resolve(place);
  return { kind: 'directory', path, shared: describe(path, place) };
}

function describe(path: string, place: string): SharedContext {
  try {
    const stats = statSync(path);
    if (stats.isDirectory()) return { path, dev: stats.dev, ino: stats.ino };
  } catch (error) {
    throw cannot('use the build context', place, error);
  }
  throw usageError(`the build context ${place} is not a folder`, 'Name the folder; a Dockerfile is named with -f.');
}

async function findDockerfile(path: string, place: string, file: string | undefined): Promise<Dockerfile> {
  if (file === '-') return { name: 'Dockerfile (standard input)', text: checkSize(await readAll(openInput('-')), '-') };
  if (file === undefined) {
    const name = ['Dockerfile', 'dockerfile'].find((candidate) => statSync(join(path, candidate), { throwIfNoEntry: false }) !== undefined);
    if (name !== undefined) return { name };
    throw new EngineError('InvalidArgument', 'DOCKERFILE_MISSING', `there is no Dockerfile in ${place}`, {
      hint: 'Name it with -f FILE.',
      exitCode: 1,
    });
  }
  const full = resolve(file);
  const inside = relative(path, full);
  // Docker looks from the current folder first, and then in the context.
  if (statSync(full, { throwIfNoEntry: false }) === undefined && statSync(join(path, file), { throwIfNoEntry: false }) !== undefined)
    return { name: file };
  let text: string;
  try {
    text = readFileSync(full, 'utf8');
  } catch (error) {
    throw cannot('read the Dockerfile', file, error);
  }
  return inside !== '' && !inside.startsWith('..') ? { name: inside } : { name: file, text: checkSize(text, file) };
}

/** A tar, or else the text of a Dockerfile, as Docker takes either. */
async function fromStandardInput(file: string | undefined): Promise<{ context: Context; dockerfile: Dockerfile }> {
  if (file === '-') throw usageError('context and Dockerfile cannot both come from standard input');
  const input = openInput('-')[Symbol.asyncIterator]();
  const head = await readAtLeast(input, 512);
  const body = chain(head, input);
  if (isArchive(head)) return { context: { kind: 'stream', body }, dockerfile: { name: file ?? 'Dockerfile' } };
  return { context: { kind: 'empty' }, dockerfile: { name: 'Dockerfile (standard input)', text: checkSize(await readAll(body), '-') } };
}

/** tar (its magic at 257), gzip, xz, bzip2 or zstd. */
function isArchive(head: Buffer): boolean {
  const starts = (...bytes: number[]) => bytes.every((byte, at) => head[at] === byte);
  return (
    head.toString('latin1', 257, 262) === 'ustar' ||
    starts(0x1f, 0x8b) ||
    starts(0xfd, 0x37, 0x7a, 0x58, 0x5a) ||
    starts(0x42, 0x5a, 0x68) ||
    starts(0x28, 0xb5, 0x2f, 0xfd) ||
    (head.length === 512 && head.every((byte) => byte === 0))
  );
}

async function readAtLeast(input: AsyncIterator<Uint8Array>, bytes: number): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < bytes) {
    const next = await input.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  return head;
}

async function* chain(head: Buffer, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  if (head.length > 0) yield head;
  for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
}

/** All of it, or a little more than a Dockerfile may have. */
async function readAll(source: AsyncIterable<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of source) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > maxHeaderDockerfile) break;
  }
  return Buffer.concat(pieces).toString('utf8');
}

function checkSize(text: string, file: string): string {
  if (Buffer.byteLength(text) <= maxHeaderDockerfile) return text;
  throw usageError(
    `the Dockerfile ${file} is outside of the context and larger than ${maxHeaderDockerfile / 1024} KiB`,
    'Put it into the context.',
  );
}
