import type { FastifyReply, FastifyRequest } from 'fastify';
import { ClassicOutput } from './build-output.ts';
import { invalid } from './errors.ts';
import type { Query } from './query.ts';
import type { Services } from './services.ts';
import { decodeSessionBuild } from './session-build.ts';
import { progress, ResponseStream, requestSignal } from './stream.ts';
import { receiveUpload } from './upload.ts';
import { Uploads } from './uploads.ts';

/** Docker's command line sends a context from its standard input in a request of its own, told by this before the build's id. */
const uploadPrefix = 'upload-request:';

type Handler = (request: FastifyRequest, reply: FastifyReply, query: Query) => Promise<void>;

/** POST /build?version=2, a build over a session: a stream of encoded progress, then the image's id. `cancellable` knows builds that may be cancelled by id. */
export function sessionBuilds(services: Services, cancellable: (id: string | undefined) => { signal: AbortSignal } & Disposable): Handler {
  const uploads = new Uploads();

  async function upload(request: FastifyRequest, reply: FastifyReply, id: string): Promise<void> {
    await using context = await receiveUpload(request.body, services.tmpDir, requestSignal(reply, services.shutdown));
    await uploads.offer(id, context);
    await reply.code(200).send();
  }

  return async (request, reply, query) => {
    const { buildkit } = services;
    if (buildkit === undefined) throw invalid('PARAMETER_INVALID', 'builds over sessions are not served');
    const id = query.string('buildid');
    if (id?.startsWith(uploadPrefix)) return upload(request, reply, id.slice(uploadPrefix.length));
    const build = decodeSessionBuild(query);
    using cancellation = cancellable(id);
    const signal = AbortSignal.any([requestSignal(reply, services.shutdown), cancellation.signal]);
    using context = build.context === 'upload' ? await uploads.take(id ?? '', signal) : undefined;
    const stream = new ResponseStream(reply, services.shutdown, 'application/json');
    const onStatus = (message: Uint8Array) =>
      stream.write(progress({ id: 'moby.buildkit.trace', aux: Buffer.from(message).toString('base64') }));
    try {
      const { imageId } = await buildkit.build({ ...build, archive: context?.file }, { onStatus, signal });
      if (imageId !== undefined) stream.post(progress({ id: 'moby.image.id', aux: { ID: imageId } }));
      if (imageId !== undefined && query.boolean('q')) stream.post(progress({ stream: `${imageId}\n` }));
    } catch (error) {
      stream.post(new ClassicOutput({ quiet: false, aux: true }).error(error));
    }
    stream.end();
  };
}
