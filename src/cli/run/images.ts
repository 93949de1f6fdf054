import { EngineError } from '../../base/errors.ts';
import { familiar, parseReference, type Reference, withDefaultTag } from '../../oci/reference.ts';
import type { Context } from '../command.ts';

export type PullPolicy = { image: string; pull: string | undefined; platform?: string | undefined; quiet?: boolean | undefined };

/** Does something that needs an image, which is pulled before (`--pull always`), or when it turns out to be missing, or (`never`) not at all. */
export async function withImage<T>(context: Context, policy: PullPolicy, act: () => Promise<T>): Promise<T> {
  if (policy.pull === 'always') {
    await pullFor(context, policy);
    return act();
  }
  try {
    return await act();
  } catch (error) {
    if (policy.pull === 'never' || !isMissing(error) || toReference(policy.image) === undefined) throw error;
    if (!policy.quiet) context.output.error(`Unable to find image '${shown(policy.image)}' locally\n`);
    await pullFor(context, policy);
    return act();
  }
}

async function pullFor(context: Context, { image, platform, quiet }: PullPolicy): Promise<void> {
  const { pullImage } = await import('../transfer/pull.ts'); // most runs pull nothing
  await pullImage(context, withDefaultTag(parseReference(image)), { platform, quiet });
}

function isMissing(error: unknown): boolean {
  return error instanceof EngineError && ['IMAGE_NOT_FOUND', 'IMAGE_PLATFORM_MISMATCH', 'PLATFORM_MISMATCH'].includes(error.code);
}

function toReference(name: string): Reference | undefined {
  if (/^(sha256:)?[0-9a-f]{64}$/.test(name)) return undefined;
  try {
    return parseReference(name);
  } catch {
    return undefined; // its own error says what is wrong with it
  }
}

function shown(name: string): string {
  return familiar(withDefaultTag(parseReference(name)));
}
