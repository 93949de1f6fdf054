import type { PullAux } from '../../api-types/registry.ts';
import { canonical, type Reference, repositoryOf } from '../../oci/reference.ts';
import type { Context } from '../command.ts';
import { authHeader } from '../registry/headers.ts';
import { transferView } from './progress.ts';
import { cancellable, followTransfer } from './stream.ts';

export type PullOptions = {
  platform?: string | undefined;
  form?: string | undefined;
  allTags?: boolean | undefined;
  quiet?: boolean | undefined;
};

/** Has the daemon pull, and shows how on standard error. Gives the bytes received. */
export async function pullImage(context: Context, reference: Reference, options: PullOptions): Promise<number> {
  const view = transferView(context, options.quiet === true);
  using cancel = cancellable(view);
  const response = await context.client.call('POST', '/images/create', {
    query: {
      fromImage: repositoryOf(reference),
      tag: options.allTags ? undefined : (reference.digest ?? reference.tag),
      platform: options.platform,
      format: options.form,
      slipway: 1,
    },
    headers: authHeader(context, reference),
    signal: cancel.signal,
  });
  let bytes = 0;
  await followTransfer(response, view, {
    onAux: (aux) => {
      bytes = (aux as PullAux).BytesReceived;
    },
  });
  return bytes;
}

/** The full name, as `docker pull` prints it at last. */
export function fullName(reference: Reference): string {
  return canonical(reference);
}
