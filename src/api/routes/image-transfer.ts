import type { FastifyInstance, FastifyReply } from 'fastify';
import { familiar, parseReference, withDefaultTag } from '../../oci/reference.ts';
import { invalid, unsupported } from '../errors.ts';
import { tellImage } from '../image-events.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { progress, ResponseStream, requestSignal, sendChunks } from '../stream.ts';
import { receiveUpload } from '../upload.ts';

/** Images in and out as files: load, save, import; and `create?fromImage`, which waits for the registry client. */
export function imageTransferRoutes(app: FastifyInstance, services: Services): void {
  app.get('/images/get', async (request, reply) => {
    const names = new Query(request.query).list('names').flatMap((value) => value.split(','));
    if (names.length === 0) throw invalid('PARAMETER_MISSING', 'the parameter "names" is missing');
    return sendImages(services, reply, names);
  });

  app.post('/images/load', async (request, reply) => {
    const quiet = new Query(request.query).boolean('quiet');
    const signal = requestSignal(reply, services.shutdown);
    await using upload = await receiveUpload(request.body, services.tmpDir, signal);
    const loaded = await services.archives.load(upload.file, { signal });
    const stream = new ResponseStream(reply, services.shutdown, 'application/json');
    for (const { image, references } of loaded) {
      for (const reference of references) tellImage(services.events, 'load', image, shown(reference));
      const lines =
        references.length > 0 ? references.map((reference) => `Loaded image: ${shown(reference)}`) : [`Loaded image ID: ${image.id}`];
      // Quiet leaves out the progress bars, which there are none of; the names are the answer.
      for (const line of lines) stream.post(progress({ stream: `${line}\n` }));
    }
    if (!quiet) reply.log.debug({ images: loaded.length }, 'loaded an archive');
    stream.end();
  });

  app.post('/images/create', async (request, reply) => {
    const query = new Query(request.query);
    const fromImage = query.string('fromImage');
    if (fromImage !== undefined) {
      throw unsupported(
        'REGISTRY_UNSUPPORTED',
        `cannot pull ${fromImage}: this daemon does not speak to registries yet`,
        'Make a base with "slipway bootstrap", or bring images in with "slipway load" and "slipway import".',
      );
    }
    await importImage(services, query, request.body, reply);
  });
}

async function importImage(services: Services, query: Query, body: unknown, reply: FastifyReply): Promise<void> {
  const source = query.required('fromSrc');
  if (source !== '-')
    throw unsupported(
      'IMPORT_SOURCE_UNSUPPORTED',
      `cannot import from ${source.slice(0, 200)}`,
      'Download it and send it as the body: fromSrc=-.',
    );
  const reference = importReference(query);
  const message = query.string('message');
  const signal = requestSignal(reply, services.shutdown);
  await using upload = await receiveUpload(body, services.tmpDir, signal);
  const image = await services.archives.importRoot(upload.file, {
    changes: query.list('changes'),
    signal,
    ...(reference === undefined ? {} : { reference }),
    ...(message === undefined ? {} : { message }),
  });
  tellImage(services.events, 'import', image, reference ?? image.id);
  const stream = new ResponseStream(reply, services.shutdown, 'application/json');
  stream.post(progress({ status: image.id }));
  stream.end();
}

function importReference(query: Query): string | undefined {
  const repository = query.string('repo');
  if (repository === undefined) return undefined;
  const tag = query.string('tag');
  return familiar(withDefaultTag(parseReference(repository + (tag === undefined ? '' : `:${tag}`))));
}

export async function sendImages(services: Services, reply: FastifyReply, names: readonly string[]): Promise<void> {
  const format = new Query(reply.request.query).string('format') === 'oci' ? 'oci' : 'docker';
  const images = await Promise.all(names.map((name) => services.store.images.resolve(name)));
  for (const [index, image] of images.entries()) tellImage(services.events, 'save', image, names[index] ?? image.id);
  await sendChunks(reply, services.shutdown, 'application/x-tar', (signal) => services.archives.save(names, { format, signal }));
}

function shown(reference: string): string {
  return familiar(parseReference(reference));
}
