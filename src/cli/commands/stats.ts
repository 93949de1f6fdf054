import type { Context } from '../command.ts';
import { defineCommand } from '../command.ts';
import { boolean } from '../flags.ts';
import { formatFlag, printListing } from '../format/listing.ts';
import { statsColumns } from '../stats/row.ts';
import { StatsWatch } from '../stats/watch.ts';

const everyMs = 500;

export const stats = defineCommand({
  args: '[CONTAINER...]',
  summary: 'Show what containers use, as it changes',
  examples: [
    ['stats', 'all that run, until ctrl-C'],
    ['stats --no-stream --format json web', 'one reading'],
  ],
  flags: {
    all: boolean('Stopped ones too', { short: 'a' }),
    format: formatFlag,
    'no-stream': boolean('One reading, then end'),
    'no-trunc': boolean('Show IDs in full'),
  },
  async run(context, flags, names) {
    const watch = new StatsWatch(context.client, { all: flags.all === true, full: flags['no-trunc'] === true });
    const render = () => rendered(watch, flags.format);
    if (flags['no-stream']) {
      await watch.once(names);
      context.output.write(render());
    } else await draw(context, watch, names, render);
  },
});

function rendered(watch: StatsWatch, format: string | undefined): string {
  let text = '';
  const output = {
    write(piece: string | Uint8Array) {
      text += piece;
    },
  };
  printListing(output, watch.rows, statsColumns, { format });
  return text;
}

/** Each frame over the last one on a terminal, below it elsewhere. */
async function draw({ output }: Context, watch: StatsWatch, names: readonly string[], render: () => string): Promise<void> {
  const terminal = output.isTerminal(1);
  const show = () => output.write(terminal ? `\u001b[H${render().replaceAll('\n', '\u001b[K\n')}\u001b[J` : render());
  const failed = Promise.withResolvers<never>();
  let timer: NodeJS.Timeout | undefined;
  const begin = () => {
    if (terminal) output.write('\u001b[2J');
    timer = setInterval(() => {
      try {
        show();
      } catch (error) {
        failed.reject(error);
      }
    }, everyMs);
  };
  try {
    await Promise.race([watch.follow(names, begin), failed.promise]);
  } finally {
    clearInterval(timer);
  }
}
