import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AuthConfig } from '../../api-types/registry.ts';
import type { Platform } from '../../oci/image.ts';
import { familiar, type Reference } from '../../oci/reference.ts';
import type { PulledImage, PullRequest } from '../../transport/port.ts';
import { invalid } from '../errors.ts';
import { tellTransfer } from '../image-events.ts';
import type { Query } from '../query.ts';
import { decodeRegistryAuth } from '../registry-auth.ts';
import type { Services } from '../services.ts';
import { requestSignal } from '../stream.ts';
import { speaks } from '../version.ts';
import { pullFailure } from './errors.ts';
import { TransferOutput } from './output.ts';
import { requestedPlatform, requestedReference } from './references.ts';

/** Names that tools give to signatures and the like, by the digest of what they belong to; no images. */
const referrerTag = /^sha256-[0-9a-f]{64}(?:\.[a-z]+)?$/;

type Pull = {
  services: Services;
  output: TransferOutput;
  auth: AuthConfig | undefined;
  platform: Platform | undefined;
  form: PullRequest['form'];
  signal: AbortSignal;
};

/** POST /images/create?fromImage: one image, or with neither tag nor digest every tag of the repository. */
export async function pullImages(services: Services, request: FastifyRequest, reply: FastifyReply, query: Query): Promise<void> {
  const reference = requestedReference(query.required('fromImage'), query.string('tag'));
  const auth = decodeRegistryAuth(request.headers['x-registry-auth']);
  const output = new TransferOutput(reply, services.shutdown, { own: query.boolean('slipway') });
  const pull: Pull = {
    services,
    output,
    auth,
    platform: requestedPlatform(speaks(request, '1.32') ? query.string('platform') : undefined),
    form: formOf(query),
    signal: requestSignal(reply, services.shutdown),
  };
  let current = reference;
  try {
    let changed = false;
    let bytesReceived = 0;
    for (const each of await wantedReferences(pull, reference)) {
      current = each;
      const pulled = await pullOne(pull, each);
      changed ||= pulled.changed;
      bytesReceived += pulled.bytesReceived;
    }
    const what = changed ? 'Downloaded newer image' : 'Image is up to date';
    output.line({ status: `Status: ${what} for ${familiar(reference)}` });
    if (query.boolean('slipway')) output.line({ aux: { BytesReceived: bytesReceived } });
    output.end();
  } catch (error) {
    request.log.info({ err: error, image: familiar(current) }, 'a pull failed');
    output.fail(pullFailure(error, { credentials: hasCredentials(auth) }));
  }
}

/** Clients that have none send the registry's name alone, or an empty object. */
function hasCredentials({ username, auth, identitytoken, registrytoken }: AuthConfig = {}): boolean {
  return [username, auth, identitytoken, registrytoken].some((value) => value !== undefined && value !== '');
}

function formOf(query: Query): PullRequest['form'] {
  const form = query.string('format');
  if (form === undefined || form === 'auto' || form === 'oci') return form;
  throw invalid('PARAMETER_INVALID', `the parameter "format" is "${form.slice(0, 50)}"; expected auto or oci`);
}

async function wantedReferences({ services, auth, signal }: Pull, reference: Reference): Promise<Reference[]> {
  if (reference.tag !== undefined || reference.digest !== undefined) return [reference];
  const tags = (await services.transfers.tags(reference, { auth, signal })).filter((tag) => !referrerTag.test(tag));
  return tags.map((tag) => ({ ...reference, tag }));
}

async function pullOne({ services, output, auth, platform, form, signal }: Pull, reference: Reference): Promise<PulledImage> {
  const opening = {
    status: `Pulling from ${reference.path}`,
    id: reference.digest ?? reference.tag ?? '',
  };
  let opened = false;
  const open = () => {
    if (!opened) output.line(opening);
    opened = true;
  };
  const pulled = await services.transfers.pull(
    { reference, auth, platform, form },
    {
      signal,
      onProgress: (step) => {
        open();
        output.progress(step);
      },
    },
  );
  open();
  output.line({ status: `Digest: ${pulled.digest}` });
  tellTransfer(services.events, 'pull', reference, pulled.image);
  return pulled;
}
