import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Hex } from '../../oci/digest.ts';
import type { MetTarMember, TarSink } from '../../oci/tar/reader.ts';
import type { TreeContext } from '../../store/port.ts';

type Stored = { object: Hex; size: number };

/** Where a file's content goes as it comes out of a tar. `done` gets the object when all of it came. */
export function contentSink(context: TreeContext, member: MetTarMember, done: (stored: Stored) => void): TarSink {
  return member.sparse ? sparseSink(context, member, done) : streamSink(context, member, done);
}

function streamSink(context: TreeContext, member: MetTarMember, done: (stored: Stored) => void): TarSink {
  let whole: Stored | undefined;
  let stream: ReturnType<TreeContext['writeObject']> | undefined;
  return {
    write(chunk) {
      // Nearly every file lies within one chunk of the archive: then its bytes are hashed where they are.
      if (chunk.length === member.size) {
        whole = context.putBytes(chunk);
        return;
      }
      stream ??= context.writeObject();
      stream.write(chunk);
    },
    finish() {
      done(whole ?? stream?.finish() ?? context.putBytes(new Uint8Array()));
    },
  };
}

/** Through a file of the job's own, so that the store finds the holes again. */
function sparseSink(context: TreeContext, member: MetTarMember, done: (stored: Stored) => void): TarSink {
  const path = join(context.tmpDir, 'sparse');
  const fd = openSync(path, 'w+', 0o600);
  // Without a name the file goes when the descriptor does, whatever happens to the job.
  unlinkSync(path);
  return {
    write(chunk, position) {
      try {
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at, chunk.length - at, position + at);
      } catch (error) {
        closeSync(fd);
        throw error;
      }
    },
    finish() {
      try {
        ftruncateSync(fd, member.size);
        done(context.putFile(fd));
      } finally {
        closeSync(fd);
      }
    },
  };
}
