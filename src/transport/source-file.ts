import { type FileHandle, open } from 'node:fs/promises';
import type { BlobSource } from './registry/port.ts';

const pieceBytes = 256 * 1024;

/** A file to upload. */
export function fileSource(path: string): BlobSource {
  return {
    async *read(offset) {
      const handle = await open(path, 'r');
      try {
        yield* readFrom(handle, offset);
      } finally {
        await handle.close();
      }
    },
  };
}

/**
 * A file from a place to its present end, through one buffer that is filled again for each piece. Buffers of their own, made as fast as a network takes them, would be a hundred megabytes before
 * the garbage collector comes.
 */
export async function* readFrom(handle: FileHandle, offset: number): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(pieceBytes);
  for (let position = offset; ; ) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
