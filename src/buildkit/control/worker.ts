import { create } from '@bufbuild/protobuf';
import { emulatedArchitectures } from '../../kernel/binfmt.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { type WorkerRecord, WorkerRecordSchema } from '../gen/worker_pb.ts';

export type WorkerFacts = { id: string; version: string; hostname: string; snapshotter: string };

/** The one worker that there is. By the label with the snapshotter, clients know that outputs other than an image in the engine are there as well. */
export function workerRecord({ id, version, hostname, snapshotter }: WorkerFacts): WorkerRecord {
  const { architecture, os, variant = '' } = hostPlatform();
  return create(WorkerRecordSchema, {
    ID: id,
    Labels: {
      'org.mobyproject.buildkit.worker.executor': 'oci',
      'org.mobyproject.buildkit.worker.hostname': hostname,
      'org.mobyproject.buildkit.worker.network': 'host',
      'org.mobyproject.buildkit.worker.snapshotter': snapshotter,
    },
    // This host's first: clients take it for the default. The others are those whose programs the kernel runs by an emulator.
    platforms: [
      { Architecture: architecture, OS: os, Variant: variant },
      ...emulatedArchitectures()
        .filter((emulated) => emulated !== architecture)
        .map((emulated) => ({ Architecture: emulated, OS: os, Variant: emulated === 'arm' ? 'v7' : '' })),
    ],
    BuildkitVersion: { package: 'slipway', version, revision: '' },
  });
}
