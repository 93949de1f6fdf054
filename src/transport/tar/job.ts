import { closeSync, constants, createWriteStream, openSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { EngineError, isErrno } from '../../base/errors.ts';
import { type Digest, digestOf, type Hex, newHash } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { tarOfTree } from './tree-tar.ts';

export type TarParams = {
  readonly tree: TreeId;
  /** A file to write, made anew. */
  readonly output: string;
  readonly compression: 'none' | 'gzip';
  /** `layer`: with digests, and without names that a layer cannot say. `plain`: just the files. */
  readonly kind: 'layer' | 'plain';
};
export type TarResult = { readonly digest: Digest; readonly diffId: Digest; readonly sizeBytes: number; readonly tarBytes: number };

const reportEveryBytes = 16 * 1024 * 1024;

/** Job `transport.tar`: a whole tree as one tar file. `digest` and `sizeBytes` are of the file, `diffId` and `tarBytes` of the tar in it. */
export async function tarToFile(context: TreeContext, params: TarParams): Promise<TarResult> {
  const tar = metered(tarOfTree(context, params.tree, params.kind), context);
  if (params.compression === 'none') {
    writeChunks(params.output, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, tar.chunks());
    const { digest, bytes } = tar.result();
    return { digest, diffId: digest, sizeBytes: bytes, tarBytes: bytes };
  }
  const hash = newHash();
  let sizeBytes = 0;
  const measure = async function* (compressed: AsyncIterable<Buffer>) {
    for await (const chunk of compressed) {
      hash.update(chunk);
      sizeBytes += chunk.length;
      yield chunk;
    }
  };
  // Level and header are fixed: the same tree has the same blob digest wherever the same zlib made it.
  await pipeline(
    Readable.from(tar.chunks()),
    createGzip({ level: 6 }),
    measure,
    createWriteStream(params.output, { flags: 'wx', mode: 0o600 }),
  );
  const { digest: diffId, bytes } = tar.result();
  return { digest: digestOf(hash.digest('hex') as Hex), diffId, sizeBytes, tarBytes: bytes };
}

/** Job `transport.export`: writes a tree into a pipe that the caller reads; the pipe's own limit is the back-pressure. */
export function exportToPipe(context: TreeContext, params: { tree: TreeId; pipe: string }): void {
  try {
    // Only for writing: a descriptor that could read too would keep the pipe open after its reader left.
    writeChunks(params.pipe, constants.O_WRONLY, tarOfTree(context, params.tree, 'plain'));
  } catch (error) {
    if (isErrno(error, 'EPIPE')) throw new EngineError('Cancelled', 'CANCELLED', 'nobody reads the export any more', { cause: error });
    throw error;
  }
}

function writeChunks(path: string, flags: number, chunks: Iterable<Buffer>): void {
  const fd = openSync(path, flags, 0o600);
  try {
    for (const chunk of chunks) for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
  } finally {
    closeSync(fd);
  }
}

function metered(chunks: Iterable<Buffer>, context: TreeContext) {
  const hash = newHash();
  let bytes = 0;
  let reported = 0;
  return {
    *chunks(): Generator<Buffer> {
      for (const chunk of chunks) {
        hash.update(chunk);
        bytes += chunk.length;
        if (bytes - reported >= reportEveryBytes) {
          reported = bytes;
          context.report({ bytes });
        }
        yield chunk;
      }
    },
    result: () => ({ digest: digestOf(hash.digest('hex') as Hex), bytes }),
  };
}
