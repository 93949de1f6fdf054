import type { FilesystemChange } from '../../api-types/container-inspect.ts';
import type { DiffLine } from '../../api-types/own.ts';
import { route } from '../client/client.ts';
import { readToResult } from '../client/lines.ts';
import { type Context, defineCommand } from '../command.ts';
import { boolean, text, usageError } from '../flags.ts';
import { humanSize } from '../format/units.ts';

type ChangeLine = DiffLine & { kind: 'added' | 'modified' | 'deleted' };
type ResultLine = DiffLine & { kind: 'result' };

export const diff = defineCommand({
  args: '<CONTAINER|IMAGE> [IMAGE]',
  summary: 'Show what a container changed, or what differs between two images',
  examples: [
    ['diff web', 'files that the container added (A), changed (C) and deleted (D)'],
    ['diff web:1 web:2', 'the same between two images, with sizes'],
  ],
  flags: { content: boolean('Leave out what differs in times only'), format: text('json: one object a line', { value: 'FORMAT' }) },
  async run(context, flags, [from = '', to]) {
    if (flags.format !== undefined && flags.format !== 'json')
      throw usageError(`invalid argument "${flags.format}" for --format`, 'The only format is json.');
    if (to === undefined) await diffContainer(context, from, flags.format === 'json');
    else await diffImages(context, { from, to, compare: flags.content ? 'content' : undefined }, flags.format === 'json');
  },
});

async function diffContainer({ client, output }: Context, name: string, json: boolean): Promise<void> {
  const changes = (await client.get<FilesystemChange[] | null>(route`/containers/${name}/changes`)) ?? [];
  for (const change of changes) output.line(json ? JSON.stringify(change) : `${'CAD'[change.Kind]} ${change.Path}`);
}

async function diffImages(
  { client, output }: Context,
  query: { from: string; to: string; compare: string | undefined },
  json: boolean,
): Promise<void> {
  const response = await client.call('GET', '/slipway/diff', { query });
  const result = await readToResult<ChangeLine, ResultLine>(response, (line) =>
    output.line(json ? JSON.stringify(line) : showChange(line)),
  );
  if (json) output.line(JSON.stringify(result));
  else {
    const counts = `${result.added} added, ${result.modified} changed, ${result.deleted} deleted`;
    output.line(`${counts}: +${humanSize(result.bytesAdded)}, -${humanSize(result.bytesDeleted)}`);
  }
}

function showChange({ kind, path, type, before, after }: ChangeLine): string {
  const letter = { added: 'A', modified: 'C', deleted: 'D' }[kind];
  const sizes =
    before !== undefined && after !== undefined && before !== after
      ? ` (${humanSize(before)} -> ${humanSize(after)})`
      : showSize(after ?? before);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a name must not draw on the terminal
  return `${letter} /${path.replace(/[\u0000-\u001f\u007f]/g, '?')}${type === 'directory' ? '/' : ''}${type === 'file' ? sizes : ''}`;
}

function showSize(bytes: number | undefined): string {
  return bytes === undefined ? '' : ` (${humanSize(bytes)})`;
}
