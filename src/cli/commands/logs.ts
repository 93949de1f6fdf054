import { route } from '../client/client.ts';
import { FrameDecoder, streams } from '../client/frames.ts';
import { defineCommand } from '../command.ts';
import { boolean, text, usageError } from '../flags.ts';
import { parseTimestamp } from '../parse/units.ts';

export const logs = defineCommand({
  args: '<CONTAINER>',
  summary: 'Show what a container has written',
  examples: [
    ['logs -f --tail 100 web', 'the last 100 lines, then what comes'],
    ['logs --since 10m web', 'the last ten minutes'],
  ],
  flags: {
    details: boolean('Show the variables and labels that the log driver was told to keep'),
    follow: boolean('Go on with what comes', { short: 'f' }),
    since: text('From this time on: 10m, 2024-05-01T13:00:00Z or seconds since 1970', { value: 'TIME' }),
    tail: text('The last N lines; "all" for everything', { short: 'n', value: 'N' }),
    timestamps: boolean('Show when each line was written', { short: 't' }),
    until: text('Up to this time', { value: 'TIME' }),
  },
  async run({ client, output }, flags, [name = '']) {
    if (flags.tail !== undefined && !/^(?:all|-?\d+)$/.test(flags.tail))
      throw usageError(`invalid argument "${flags.tail}" for --tail`, 'Give a number of lines, or all.');
    const now = Date.now();
    const response = await client.call('GET', route`/containers/${name}/logs`, {
      query: {
        stdout: 1,
        stderr: 1,
        details: flags.details ? 1 : undefined,
        follow: flags.follow ? 1 : undefined,
        timestamps: flags.timestamps ? 1 : undefined,
        tail: flags.tail,
        since: flags.since === undefined ? undefined : parseTimestamp(flags.since, '--since', now),
        until: flags.until === undefined ? undefined : parseTimestamp(flags.until, '--until', now),
      },
    });
    const multiplexed = response.headers.get('content-type')?.includes('multiplexed') ?? false;
    const decoder = new FrameDecoder((stream, data) => (stream === streams.stderr ? output.error(data) : output.write(data)));
    for await (const piece of response.body()) {
      if (multiplexed) decoder.push(piece);
      else output.write(piece);
    }
  },
});
