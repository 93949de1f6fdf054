import { posix } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';
import type { BuildRequest } from '../port.ts';
import type { ContextSource } from './build-context.ts';

export type Definition = { readonly text: string; readonly name: string; readonly ignore: readonly string[]; readonly ignoreFile: string };

/** The Dockerfile and the ignore lines that hold for it: `<Dockerfile>.dockerignore` wins over `.dockerignore`. */
export async function readDefinition(dockerfile: BuildRequest['dockerfile'], context: ContextSource): Promise<Definition> {
  const name = 'text' in dockerfile ? dockerfile.name : posix.normalize(dockerfile.path);
  const text = 'text' in dockerfile ? dockerfile.text : await context.readText(name);
  if (text === undefined) throw await notFound(name, context);
  for (const ignoreFile of [`${name}.dockerignore`, '.dockerignore']) {
    const lines = await context.readText(ignoreFile);
    if (lines === undefined) continue;
    return { text, name, ignore: lines.replace(/^\u{feff}/u, '').split(/\r?\n/), ignoreFile };
  }
  return { text, name, ignore: [], ignoreFile: '.dockerignore' };
}

async function notFound(name: string, context: ContextSource): Promise<EngineError> {
  const nearest = suggestion(
    posix.basename(name),
    (await context.siblings(name)).filter((sibling) => sibling !== posix.basename(name)),
  );
  return new EngineError('InvalidArgument', 'DOCKERFILE_NOT_FOUND', `there is no ${name} in the build context`, {
    hint: nearest ?? 'Name another file with -f.',
  });
}
