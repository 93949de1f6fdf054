import type { FastifyReply, FastifyRequest } from 'fastify';
import { EngineError } from '../../base/errors.ts';
import { canonical, familiar, familiarName, parseReference, type Reference, repositoryOf } from '../../oci/reference.ts';
import type { PushRequest } from '../../transport/port.ts';
import { invalid } from '../errors.ts';
import { tellTransfer } from '../image-events.ts';
import { decodePlatform, imageFor } from '../platform.ts';
import { Query } from '../query.ts';
import { decodeRegistryAuth } from '../registry-auth.ts';
import type { Services } from '../services.ts';
import { requestSignal } from '../stream.ts';
import { speaks } from '../version.ts';
import { compressionOf, formOf, layersOf } from './choices.ts';
import { TransferOutput } from './output.ts';
import { requestedReference } from './references.ts';

type Choices = Pick<PushRequest, 'auth' | 'form' | 'layers' | 'compression' | 'explainOnly'>;
type Push = { services: Services; output: TransferOutput; choices: Choices; own: boolean; signal: AbortSignal };

/**
 * POST /images/{name}/push: one tag, or without any every tag of the repository that is here. Docker has opened its stream by the time it looks for the image, so its clients look for
 * errors there.
 */
export async function pushImages(services: Services, request: FastifyRequest, reply: FastifyReply, name: string): Promise<void> {
  const query = new Query(request.query);
  const reference = requestedReference(name, query.string('tag'));
  if (reference.digest !== undefined) throw invalid('REFERENCE_INVALID', 'cannot push a digest reference');
  const own = query.boolean('slipway');
  const platform = speaks(request, '1.46') ? query.string('platform') : undefined;
  const wanted = platform === undefined ? undefined : decodePlatform(platform);
  const choices: Choices = {
    // The credentials may be broken; a push that needs none does not mind.
    auth: decodeRegistryAuth(request.headers['x-registry-auth']),
    form: formOf(query),
    layers: layersOf(query),
    compression: compressionOf(query),
    explainOnly: query.boolean('explain'),
  };
  const output = new TransferOutput(reply, services.shutdown, { own });
  const push: Push = { services, output, choices, own, signal: requestSignal(reply, services.shutdown) };
  output.line({ status: `The push refers to repository [${repositoryOf(reference)}]` });
  try {
    for (const each of await tagsHere(services, reference)) {
      const { images } = services.store;
      const named = await images.resolve(canonical(each));
      const image = wanted === undefined ? named : await imageFor(images, { image: named, name: familiar(each), wanted });
      await pushOne(push, { image, reference: each });
    }
    output.end();
  } catch (error) {
    request.log.info({ err: error, image: familiar(reference) }, 'a push failed');
    output.fail(error);
  }
}

async function tagsHere({ store }: Services, reference: Reference): Promise<Reference[]> {
  const missing = () =>
    new EngineError('NotFound', 'IMAGE_NOT_FOUND', `An image does not exist locally with the tag: ${familiarName(reference)}`, {
      hint: '"slipway images" lists what is here; "slipway tag" gives an image the name that it is pushed as.',
    });
  const repository = repositoryOf(reference);
  const all = (await store.images.list()).flatMap(({ references }) => references.map(parseReference));
  const here = all.filter(({ domain, path, tag }) => tag !== undefined && repositoryOf({ domain, path }) === repository);
  const wanted = here.filter(({ tag }) => reference.tag === undefined || tag === reference.tag);
  if (wanted.length === 0) throw missing();
  return wanted.toSorted((a, b) => ((a.tag ?? '') < (b.tag ?? '') ? -1 : 1));
}

async function pushOne({ services, output, choices, own, signal }: Push, target: Pick<PushRequest, 'image' | 'reference'>): Promise<void> {
  const { reference, image } = target;
  const pushed = await services.transfers.push({ ...target, ...choices }, { signal, onProgress: (step) => output.progress(step) });
  const { digest, manifest, sizeBytes, bytesSent, explanation } = pushed;
  const tag = reference.tag ?? '';
  if (choices.explainOnly) {
    if (own) output.line({ aux: { Tag: tag, Digest: digest, Size: manifest.size, Explanation: explanation } });
    else for (const line of explanation) output.line({ status: line });
    return;
  }
  output.line({ status: `${tag}: digest: ${digest} size: ${manifest.size}` });
  const more = own ? { Reference: familiar(reference), ImageBytes: sizeBytes, BytesSent: bytesSent, Explanation: explanation } : {};
  output.line({ progressDetail: {}, aux: { Tag: tag, Digest: digest, Size: manifest.size, ...more } });
  tellTransfer(services.events, 'push', reference, image);
}
