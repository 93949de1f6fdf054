import type { ProgressMessage } from '../../api-types/build.ts';
import { EngineError } from '../../base/errors.ts';
import { familiarName, parseReference, withDefaultTag } from '../../oci/reference.ts';
import { route } from '../client/client.ts';
import type { Response } from '../client/connection.ts';
import { jsonLines } from '../client/lines.ts';
import { type Context, defineCommand } from '../command.ts';
import { openInput, refuseTerminal, writeOutput } from '../files.ts';
import { boolean, list, text, usageError } from '../flags.ts';
import { layersFlag, layersQuery } from '../parse/layers.ts';

const outputFlag = text('Write to a file instead of standard output', { short: 'o', value: 'FILE' });

export const save = defineCommand({
  args: '<IMAGE...>',
  summary: 'Write images to an archive that docker, podman and skopeo read',
  examples: [
    ['save -o web.tar web:2', 'one image'],
    ['save web:2 db:7 | ssh host slipway load', 'two to another host'],
    ['save --since web:1 -o web-2.tar web:2', 'only what web:1 lacks'],
  ],
  flags: {
    chunked: boolean('Put the chunked form in, too, as push does; Slipway loads it, others pass over it'),
    format: text('docker (which OCI tools read too) or oci', { value: 'FORMAT' }),
    layers: layersFlag,
    output: outputFlag,
    since: list('Leave out what these images have; only a host that has them can load it', { value: 'IMAGE[,IMAGE]' }),
  },
  async run(context, flags, names) {
    if (flags.format !== undefined && flags.format !== 'docker' && flags.format !== 'oci') {
      throw usageError(`invalid argument "${flags.format}" for --format`, 'Formats are docker and oci.');
    }
    refuseTerminal(context, flags.output);
    const since = flags.since.flatMap((names) => names.split(',')).filter((name) => name !== '');
    const query = { names, format: flags.format, layers: layersQuery(flags.layers), chunked: flags.chunked, since };
    const response = await context.client.call('GET', '/images/get', { query });
    await writeOutput(context, flags.output, response.body());
  },
});

export const load = defineCommand({
  summary: 'Read images from an archive of docker, podman or skopeo',
  flags: {
    input: text('Read a file instead of standard input', { short: 'i', value: 'FILE' }),
    quiet: boolean('Print only what was loaded', { short: 'q' }),
  },
  async run(context, flags) {
    const response = await context.client.call('POST', '/images/load', {
      query: { quiet: flags.quiet },
      headers: { 'Content-Type': 'application/x-tar' },
      body: openInput(flags.input),
    });
    await printProgress(context, response);
  },
});

export const importImage = defineCommand({
  args: '<FILE|-> [REPOSITORY[:TAG]]',
  summary: 'Make an image of a tar of a root file system',
  flags: {
    change: list('Apply a Dockerfile instruction, such as CMD ["sh"]', { short: 'c', value: 'INSTRUCTION' }),
    message: text('A comment', { short: 'm', value: 'TEXT' }),
  },
  async run(context, flags, [file = '', name]) {
    const reference = name === undefined ? undefined : withDefaultTag(parseReference(name));
    if (/^https?:\/\//.test(file))
      throw usageError(`cannot import from ${file}`, `Fetch it first: curl -L ${file} | slipway import - ${name ?? ''}`.trimEnd());
    const response = await context.client.call('POST', '/images/create', {
      query: {
        fromSrc: '-',
        repo: reference === undefined ? undefined : familiarName(reference),
        tag: reference?.tag,
        changes: flags.change,
        message: flags.message,
      },
      headers: { 'Content-Type': 'application/x-tar' },
      body: openInput(file),
    });
    await printProgress(context, response);
  },
});

export const exportContainer = defineCommand({
  args: '<CONTAINER>',
  summary: 'Write a container’s file system as a tar',
  flags: { output: outputFlag },
  async run(context, flags, [name = '']) {
    refuseTerminal(context, flags.output);
    const response = await context.client.call('GET', route`/containers/${name}/export`);
    await writeOutput(context, flags.output, response.body());
  },
});

/** Docker's progress lines; an `error` among them is thrown. */
async function printProgress({ output }: Context, response: Response): Promise<void> {
  for await (const line of jsonLines<ProgressMessage>(response)) {
    if (line.error !== undefined) throw new EngineError('Internal', 'STREAM_ERROR', line.errorDetail?.message ?? line.error);
    if (line.stream !== undefined) output.write(line.stream);
    else if (line.status !== undefined) output.line(line.status);
  }
}
