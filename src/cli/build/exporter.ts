import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildResultLine } from '../../api-types/build.ts';
import { route } from '../client/client.ts';
import type { Context } from '../command.ts';
import { cannot, refuseTerminal, writeOutput } from '../files.ts';
import { usageError } from '../flags.ts';
import { cut } from '../parse/key-values.ts';
import { splitFields } from '../parse/mounts.ts';
import { untar } from '../untar.ts';

/** Where a build's result goes. `local` and `tar` are its files, and no image is made; `oci` and `docker` are archives of the image. */
export type Exporter = { type: 'local' | 'tar' | 'oci' | 'docker'; destination: string };

/** Whether the image itself is not wanted. */
export function isFilesOnly({ type }: Exporter): boolean {
  return type === 'local' || type === 'tar';
}

/** Docker's `--output`: `type=local,dest=DIR`, `type=tar|oci|docker,dest=FILE|-`, or just a folder, or `-` for a tar on standard output. */
export function parseOutput(text: string): Exporter {
  if (text === '-') return { type: 'tar', destination: '-' };
  if (!text.includes('=')) return { type: 'local', destination: text };
  const fields: Record<string, string> = {};
  for (const field of splitFields(text)) {
    const [key, value] = cut(field);
    if (value === undefined || !/^(?:type|dest)$/.test(key))
      throw usageError(`invalid output "${text}": unknown field ${JSON.stringify(field)}`, outputHint);
    fields[key] = value;
  }
  const { type, dest } = fields;
  if (type !== 'local' && type !== 'tar' && type !== 'oci' && type !== 'docker')
    throw usageError(`invalid output "${text}": the type must be local, tar, oci or docker`, outputHint);
  if (type === 'local' && (dest === undefined || dest === '-'))
    throw usageError(`invalid output "${text}": a folder is needed as dest`, outputHint);
  return { type, destination: dest ?? '-' };
}

const outputHint = 'Outputs look like type=local,dest=out, type=tar,dest=out.tar, type=oci,dest=image.tar or type=tar,dest=- .';

/** What would only fail after the build is told before it. */
export function checkOutput(context: Context, { type, destination }: Exporter): void {
  if (type !== 'local') refuseTerminal(context, destination);
}

/** The image as `slipway save` writes it; without a name when it has none. */
async function exportImage(context: Context, names: readonly string[], { type, destination }: Exporter): Promise<void> {
  const response = await context.client.call('GET', '/images/get', { query: { names, format: type } });
  await writeOutput(context, destination, response.body());
}

export async function exportResult(
  context: Context,
  { imageId, tags, tree, platforms }: BuildResultLine,
  exporter: Exporter,
): Promise<void> {
  if (isFilesOnly(exporter)) await exportFiles(context, platforms ?? [{ platform: '', tree }], exporter);
  else await exportImage(context, tags.length > 0 || imageId === undefined ? tags : [imageId], exporter);
}

/** Of several platforms each into a folder of its own, as BuildKit names them: linux_arm64. */
async function exportFiles(context: Context, results: readonly { platform: string; tree: string }[], exporter: Exporter): Promise<void> {
  const { type, destination } = exporter;
  if (results.length > 1 && type === 'tar')
    throw usageError('the files of several platforms do not go into one tar', 'Write them into a folder: type=local,dest=out.');
  for (const { platform, tree } of results) {
    const folder = results.length > 1 ? join(destination, platform.replaceAll('/', '_')) : destination;
    await exportTree(context, tree, { ...exporter, destination: folder });
  }
}

async function exportTree(context: Context, tree: string, { type, destination }: Exporter): Promise<void> {
  const response = await context.client.call('GET', route`/slipway/trees/${tree}/tar`);
  if (type === 'tar') {
    await writeOutput(context, destination, response.body());
    return;
  }
  try {
    mkdirSync(destination, { recursive: true });
  } catch (error) {
    throw cannot('write to', destination, error);
  }
  await untar(response.body(), destination);
}
