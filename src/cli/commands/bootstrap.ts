import type { BootstrapLine, BootstrapRequest } from '../../api-types/own.ts';
import { readToResult } from '../client/lines.ts';
import { defineCommand } from '../command.ts';
import { boolean, list, text, usageError } from '../flags.ts';
import { humanSize } from '../format/units.ts';

export const bootstrap = defineCommand({
  args: '<DISTRIBUTION> <SUITE>',
  summary: 'Make a base image from a distribution’s own packages',
  examples: [
    ['bootstrap debian bookworm -t debian:bookworm', 'a minimal Debian'],
    ['bootstrap debian bookworm --include nodejs,npm -t node:bookworm', 'with packages'],
  ],
  flags: {
    'host-certificates': boolean('Trust the certificate authorities that this host’s administrator added'),
    include: list('Packages to add, with commas between', { value: 'PACKAGES' }),
    mirror: text('Where packages come from', { value: 'URL' }),
    'no-cache': boolean('Make it anew'),
    quiet: boolean('Print only the ID', { short: 'q' }),
    tag: text('Name of the image (required)', { short: 't', value: 'NAME' }),
  },
  async run(context, flags, [distribution = '', suite = '']) {
    if (distribution !== 'debian')
      throw usageError(`cannot bootstrap ${JSON.stringify(distribution)}`, 'The only distribution so far is debian.');
    if (flags.tag === undefined)
      throw usageError('-t NAME is missing', `For example: slipway bootstrap debian ${suite} -t debian:${suite}`);
    const request: BootstrapRequest = {
      distribution,
      suite,
      include: flags.include.flatMap((names) => names.split(/[\s,]+/)).filter((name) => name !== ''),
      reference: flags.tag,
      mirror: flags.mirror,
      hostCertificates: flags['host-certificates'] === true,
      noCache: flags['no-cache'] === true,
    };
    const response = await context.client.call('POST', '/slipway/bootstrap', { json: request });
    const result = await readToResult<BootstrapLine & { kind: 'progress' }, BootstrapLine & { kind: 'result' }>(response, ({ message }) => {
      if (!flags.quiet) context.output.error(`${message.trimEnd()}\n`);
    });
    if (flags.quiet) context.output.line(result.imageId);
    else
      context.output.line(
        `${result.cached ? 'Already there' : 'Made'}: ${result.reference} ${result.imageId} (${humanSize(result.sizeBytes)})`,
      );
  },
});
