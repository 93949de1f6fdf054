import { constants, createGzip, createZstdCompress } from 'node:zlib';
import type { LayerCompression } from '../port.ts';

/** Beyond the size from which a buffer has memory of its own, of any Node: what is shared cannot be freed. */
const leastRoom = 128 * 1024;

/**
 * One frame, on a thread of libuv's pool. Nothing of the time, the host or the file gets into it: the same plain bytes give the same frame wherever the same
 * library made it. gzip's level 5 takes three quarters of the time of 6 for 1.5 % more bytes. The caller gives the frame to `freeFrame`.
 */
export function compressFrame(plain: Buffer, compression: LayerCompression): Promise<Buffer> {
  if (compression === 'none') return Promise.resolve(plain);
  // Also for what cannot be compressed: the frame then comes in one turn of the pool, and in one buffer.
  const chunkSize = Math.max(plain.length + (plain.length >>> 8) + 1024, leastRoom);
  const stream =
    compression === 'gzip'
      ? createGzip({ level: 5, chunkSize })
      : createZstdCompress({
          chunkSize,
          params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 },
          pledgedSrcSize: plain.length,
        });
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('error', reject);
    stream.once('end', () => resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)));
    stream.end(plain);
  });
}

/** Lets go of a frame that nobody reads any more. Left to the garbage collector, which counts such memory late, a layer's frames pile up to tens of megabytes. */
export function freeFrame({ buffer }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength >= leastRoom) buffer.transfer(0);
}

/** Names what decides the bytes of a frame besides its content. */
export function compressionRecipe(compression: LayerCompression): string {
  const { zlib, zstd } = process.versions;
  return compression === 'gzip' ? `gzip 5 ${zlib}` : compression === 'zstd' ? `zstd 3 checksum ${zstd}` : 'none';
}
