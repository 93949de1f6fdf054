import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { familiar, parseReference, withDefaultTag } from '../../oci/reference.ts';
import { invalid, unsupported } from '../errors.ts';
import { tellImage } from '../image-events.ts';
import { checkPlatform, decodePlatform, parsePlatform } from '../platform.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { progress, ResponseStream, requestSignal, sendChunks } from '../stream.ts';
import { layersOf } from '../transfers/choices.ts';
import { pullImages } from '../transfers/pull.ts';
import { receiveUpload } from '../upload.ts';
import { speaks } from '../version.ts';

/** Images in and out: from registries, and as files (load, save, import). */
export function imageTransferRoutes(app: FastifyInstance, services: Services): void {
  app.get('/images/get', async (request, reply) => {
    const names = new Query(request.query).list('names').flatMap((value) => value.split(','));
    if (names.length === 0) throw invalid('PARAMETER_MISSING', 'the parameter "names" is missing');
    return sendImages(services, reply, names);
  });

  app.post('/images/load', (request, reply) => loadImages(services, request, reply));

  app.post('/images/create', async (request, reply) => {
    const query = new Query(request.query);
    if (query.string('fromImage') !== undefined) await pullImages(services, request, reply, query);
    else await importImage(services, query, request, reply);
  });
}

/** The names are the answer: they are told quiet or not, and there are no progress bars. */
async function loadImages(services: Services, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const wanted = platformOf(request, new Query(request.query));
  const signal = requestSignal(reply, services.shutdown);
  await using upload = await receiveUpload(request.body, services.tmpDir, signal);
  const loaded = await services.archives.load(upload.file, { signal });
  if (wanted !== undefined) for (const { image, references } of loaded) checkPlatform(image, references[0] ?? image.id, wanted);
  const stream = new ResponseStream(reply, services.shutdown, 'application/json');
  for (const { image, references } of loaded) {
    tellImage(services.events, 'load', image, image.id);
    const lines = references.length > 0 ? references.map((name) => `Loaded image: ${shown(name)}`) : [`Loaded image ID: ${image.id}`];
    for (const line of lines) stream.post(progress({ stream: `${line}\n` }));
  }
  stream.end();
}

async function importImage(services: Services, query: Query, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const source = query.string('fromSrc') ?? '';
  if (source !== '-') {
    throw unsupported(
      'IMPORT_SOURCE_UNSUPPORTED',
      `cannot import from "${source.slice(0, 200)}": this engine downloads nothing`,
      'Download it and send it as the body: fromSrc=-.',
    );
  }
  const platform = speaks(request, '1.32') ? query.string('platform') : undefined;
  const { os, architecture, variant } = platform === undefined ? {} : parsePlatform(platform);
  if (os !== undefined && os !== 'linux') throw invalid('PLATFORM_INVALID', `operating system is not supported: ${os}`);
  const reference = importReference(query);
  const signal = requestSignal(reply, services.shutdown);
  await using upload = await receiveUpload(request.body, services.tmpDir, signal);
  const image = await services.archives.importRoot(upload.file, {
    changes: query.list('changes'),
    message: query.string('message') ?? `Imported from ${source}`,
    signal,
    ...(reference === undefined ? {} : { reference }),
    ...(architecture === undefined ? {} : { platform: { architecture, ...(variant === undefined ? {} : { variant }) } }),
  });
  tellImage(services.events, 'import', image, image.id);
  if (reference !== undefined) tellImage(services.events, 'tag', image, reference);
  const stream = new ResponseStream(reply, services.shutdown, 'application/json');
  stream.post(progress({ status: image.id }));
  stream.end();
}

function importReference(query: Query): string | undefined {
  const repository = query.string('repo');
  if (repository === undefined) return undefined;
  const tag = query.string('tag');
  const reference = withDefaultTag(parseReference(repository + (tag === undefined ? '' : `:${tag}`)));
  if (reference.digest !== undefined) throw invalid('REFERENCE_INVALID', 'cannot import digest reference');
  return familiar(reference);
}

/** A tar of images; it is one stream, so whatever is wrong with a name is found before. */
export async function sendImages(services: Services, reply: FastifyReply, names: readonly string[]): Promise<void> {
  const query = new Query(reply.request.query);
  const format = query.string('format') === 'oci' ? 'oci' : 'docker';
  const wanted = platformOf(reply.request, query);
  const options = { format, layers: layersOf(query), chunked: query.boolean('chunked'), since: query.list('since') } as const;
  const images = await Promise.all(names.map((name) => services.store.images.resolve(name)));
  if (wanted !== undefined) for (const [index, image] of images.entries()) checkPlatform(image, names[index] ?? image.id, wanted);
  await Promise.all(options.since.map((name) => services.store.images.resolve(name)));
  for (const image of images) tellImage(services.events, 'save', image, image.id);
  await sendChunks(reply, services.shutdown, 'application/x-tar', (signal) => services.archives.save(names, { ...options, signal }));
}

function platformOf(request: FastifyRequest, query: Query) {
  const platforms = speaks(request, '1.48') ? query.list('platform') : [];
  if (platforms.length > 1) throw invalid('PLATFORM_INVALID', 'multiple platform parameters not supported');
  const [platform] = platforms;
  return platform === undefined ? undefined : decodePlatform(platform);
}

function shown(reference: string): string {
  return familiar(parseReference(reference));
}
