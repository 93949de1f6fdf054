import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { BuildRequest } from '../../build/port.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import { type BuildOutput, ClassicOutput, LinesOutput } from '../build-output.ts';
import { decodeBuild, sharedContext } from '../build-request.ts';
import { unsupported } from '../errors.ts';
import { tellImage } from '../image-events.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { ResponseStream, requestSignal } from '../stream.ts';
import { receiveUpload } from '../upload.ts';

export function buildRoutes(app: FastifyInstance, services: Services): void {
  app.post('/build', async (request, reply) => {
    const query = new Query(request.query);
    const recipe = decodeBuild(query, request.headers);
    const output = outputOf(request, query);
    const signal = requestSignal(reply, services.shutdown);
    const shared = await sharedContext(request.headers);
    if (shared !== undefined) return runBuild(services, reply, { ...recipe, context: shared }, output, signal);
    await using upload = await receiveUpload(request.body, services.tmpDir, signal);
    await runBuild(services, reply, { ...recipe, context: { kind: 'tar', file: upload.file } }, output, signal);
  });

  app.post('/build/prune', async () => ({ CachesDeleted: null, SpaceReclaimed: 0 }));
  app.post('/build/cancel', () => {
    throw unsupported('BUILD_CANCEL_UNSUPPORTED', 'builds are cancelled by closing their connection');
  });
}

function outputOf(request: FastifyRequest, query: Query): BuildOutput {
  const lines = query.boolean('slipway') || String(request.headers.accept).includes('application/vnd.slipway.build+json');
  return lines ? new LinesOutput() : new ClassicOutput(query.boolean('q'));
}

/** The stream opens with the first thing to tell, so that what is wrong with the request itself is still told by a status. */
async function runBuild(
  services: Services,
  reply: FastifyReply,
  build: BuildRequest,
  output: BuildOutput,
  signal: AbortSignal,
): Promise<void> {
  let stream: ResponseStream | undefined;
  const send = (text: string) => {
    if (text === '') return;
    stream ??= new ResponseStream(reply, services.shutdown, output.contentType);
    stream.post(text);
  };
  try {
    const result = await services.builder.build(build, { onEvent: (event) => send(output.event(event)), signal });
    const { image } = result;
    if (image !== undefined) for (const tag of build.tags) tellImage(services.events, 'tag', image, familiar(parseReference(tag)));
    send(output.result(result, build));
  } catch (error) {
    if (stream === undefined) throw error;
    send(output.error(error));
  }
  stream?.end();
}
