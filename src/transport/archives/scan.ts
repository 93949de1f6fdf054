import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { TarType } from '../../oci/tar/member.ts';
import { TarReader } from '../../oci/tar/reader.ts';
import type { TreeContext } from '../../store/port.ts';
import { compressionOf, readDecompressed, readRange } from '../compression.ts';

/** More files than any archive of images has: two a layer, a few an image. */
const maxMembers = 100_000;
const reportEveryBytes = 16 * 1024 * 1024;

/** A member of an image archive; its content is at `dataOffset` of the plain archive. */
export type ScannedMember = { name: ByteString; type: TarType; linkTarget: ByteString; size: number; dataOffset: number };
export type ScanResult = { file: string; members: ScannedMember[] };

/**
 * Job `transport.scan`: the table of contents of an image archive, content passed over. A compressed one is first unpacked to `plainFile`,
 * since its parts are needed out of order. `file` is the one that the offsets are of.
 */
export async function scan(context: TreeContext, params: { file: string; plainFile: string; what: string }): Promise<ScanResult> {
  const { what } = params;
  const compression = compressionOf({ file: params.file });
  let file = params.file;
  if (compression !== 'none') {
    file = params.plainFile;
    const unpacked = reporting(readDecompressed({ file: params.file }, compression, what), context);
    await pipeline(Readable.from(unpacked), createWriteStream(file, { flags: 'wx', mode: 0o600 }));
  }
  return { file, members: readContents(file, what) };
}

function readContents(file: string, what: string): ScannedMember[] {
  const members: ScannedMember[] = [];
  const reader = new TarReader(
    ({ name, type, linkTarget, size, dataOffset, sparse }) => {
      if (sparse) throw new EngineError('Unsupported', 'ARCHIVE_INVALID', `${what} has a sparse file in it, which no engine writes`);
      if (members.length >= maxMembers)
        throw new EngineError('InvalidArgument', 'ARCHIVE_INVALID', `${what} has more than ${maxMembers} entries`);
      members.push({ name, type, linkTarget, size, dataOffset });
      return undefined;
    },
    { what, requireEnd: true },
  );
  let passedOver = 0;
  const passOver = () => {
    passedOver = reader.skippable;
    return passedOver;
  };
  for (const chunk of readRange({ file }, what, passOver)) {
    // More came, so all that was asked to be passed over was there.
    if (passedOver > 0) reader.skip(passedOver);
    reader.push(chunk);
    if (reader.ended) break;
  }
  reader.end();
  return members;
}

/** Reporting is also where a job notices that it was cancelled. */
async function* reporting(chunks: AsyncIterable<Buffer>, context: TreeContext): AsyncGenerator<Buffer> {
  let bytes = 0;
  let reported = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes - reported >= reportEveryBytes) {
      reported = bytes;
      context.report({ bytes });
    }
    yield chunk;
  }
}
