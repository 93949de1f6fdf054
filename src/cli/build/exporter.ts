import { mkdirSync } from 'node:fs';
import { route } from '../client/client.ts';
import type { Context } from '../command.ts';
import { cannot, refuseTerminal, writeOutput } from '../files.ts';
import { usageError } from '../flags.ts';
import { cut } from '../parse/key-values.ts';
import { splitFields } from '../parse/mounts.ts';
import { untar } from '../untar.ts';

/** Where a build's tree goes instead of into an image. */
export type Exporter = { type: 'local' | 'tar'; destination: string };

/** Docker's `--output`: `type=local,dest=DIR`, `type=tar,dest=FILE|-`, or just a folder, or `-` for a tar on standard output. */
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
  if (type !== 'local' && type !== 'tar') throw usageError(`invalid output "${text}": the type must be local or tar`, outputHint);
  if (type === 'local' && (dest === undefined || dest === '-'))
    throw usageError(`invalid output "${text}": a folder is needed as dest`, outputHint);
  return { type, destination: dest ?? '-' };
}

const outputHint = 'Outputs look like type=local,dest=out, type=tar,dest=out.tar or type=tar,dest=- .';

/** What would only fail after the build is told before it. */
export function checkOutput(context: Context, { type, destination }: Exporter): void {
  if (type === 'tar') refuseTerminal(context, destination);
}

export async function exportTree(context: Context, tree: string, { type, destination }: Exporter): Promise<void> {
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
