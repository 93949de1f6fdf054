import type { UpdateResponse } from '../../api-types/container-inspect.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { text, usageError } from '../flags.ts';
import { parseRestart } from '../parse/limits.ts';
import { updatableFlags, updatableLimits } from '../run/limits.ts';
import { eachName } from './each.ts';

export const update = defineCommand({
  args: '<CONTAINER...>',
  summary: 'Change limits and restart policy of containers, at once where they run',
  examples: [
    ['update --memory 1g --memory-swap 2g web', 'more memory'],
    ['update --restart unless-stopped web db', 'come back after a reboot'],
  ],
  flags: { ...updatableFlags, restart: text('no, always, unless-stopped or on-failure[:MAX]', { value: 'POLICY' }) },
  async run(context, flags, names) {
    if (Object.values(flags).every((value) => value === undefined)) throw usageError('there is nothing to change: give one flag or more');
    const json = { ...updatableLimits(flags), ...(flags.restart === undefined ? {} : { RestartPolicy: parseRestart(flags.restart) }) };
    return eachName(context, names, async (name) => {
      const { Warnings: warnings } = await context.client.post<UpdateResponse>(route`/containers/${name}/update`, { json });
      for (const warning of warnings ?? []) context.output.error(`WARNING: ${warning}\n`);
    });
  },
});
