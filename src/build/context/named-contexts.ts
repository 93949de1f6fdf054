import type { ContextReference } from '../dockerfile/bases.ts';
import type { BuildContext, NamedContext } from '../port.ts';
import type { ContextSource, ContextTree } from './build-context.ts';

/** What the Dockerfile has to know of the contexts of a request. */
export function contextReferences(contexts: Readonly<Record<string, NamedContext>> = {}): Record<string, ContextReference> {
  return Object.fromEntries(
    Object.entries(contexts).map(([name, context]) => [
      name,
      context.kind === 'image' || context.kind === 'remote' ? context : { kind: 'files' },
    ]),
  );
}

/** A named context that is files, whole but for what its own .dockerignore leaves out. */
export async function readNamedContext(
  context: NamedContext | undefined,
  open: (context: BuildContext) => ContextSource,
  signal: AbortSignal,
): Promise<ContextTree | undefined> {
  if (context === undefined || context.kind === 'image' || context.kind === 'remote') return undefined;
  const source = open(context);
  const lines = await source.readText('.dockerignore');
  return source.tree([{ path: '/', wildcard: false }], { ignore: lines?.split(/\r?\n/) ?? [], signal });
}
