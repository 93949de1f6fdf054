import type { PushAux } from '../../api-types/registry.ts';
import { canonical, type Reference, repositoryOf } from '../../oci/reference.ts';
import { route } from '../client/client.ts';
import type { Context } from '../command.ts';
import { humanSize } from '../format/units.ts';
import { authHeader } from '../registry/headers.ts';
import { transferView } from './progress.ts';
import { cancellable, followTransfer } from './stream.ts';

export type PushOptions = {
  format?: string | undefined;
  layers?: string | undefined;
  compression?: string | undefined;
  explain?: boolean | undefined;
  /** As the API takes it: JSON. */
  platform?: string | undefined;
  quiet?: boolean | undefined;
};

/** Has the daemon push one tag, or without a tag all of them, and shows how on standard error. Gives what each became. */
export async function pushImage(context: Context, reference: Reference, { quiet, ...query }: PushOptions): Promise<PushAux[]> {
  const view = transferView(context, quiet === true);
  const pushed: PushAux[] = [];
  using cancel = cancellable(view);
  const response = await context.client.call('POST', route`/images/${repositoryOf(reference)}/push`, {
    query: { ...query, tag: reference.tag, slipway: 1 },
    headers: authHeader(context, reference),
    signal: cancel.signal,
  });
  await followTransfer(response, view, { onAux: (aux) => pushed.push(aux as PushAux) });
  return pushed;
}

/** What a push cost, on standard error, unless it is to be quiet. Gives the full name. */
export function tellPushed(
  { output }: Context,
  reference: Reference,
  { Tag, Explanation = [], BytesSent = 0, ImageBytes = 0 }: PushAux,
  quiet: boolean,
): string {
  if (!quiet) {
    for (const line of Explanation) output.error(`${line}\n`);
    output.error(`Sent ${humanSize(BytesSent)} of an image of ${humanSize(ImageBytes)}\n`);
  }
  return canonical({ ...reference, tag: Tag });
}
