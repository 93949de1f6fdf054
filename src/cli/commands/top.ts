import type { TopResponse } from '../../api-types/container-inspect.ts';
import { route } from '../client/client.ts';
import { defineCommand } from '../command.ts';
import { renderTable } from '../format/table.ts';

export const top = defineCommand({
  args: '<CONTAINER> [PS-OPTION...]',
  summary: 'Show the processes of a container',
  interspersed: false,
  flags: {},
  async run({ client, output }, _flags, [name = '', ...psArgs]) {
    const { Titles: titles, Processes: processes } = await client.get<TopResponse>(route`/containers/${name}/top`, {
      ps_args: psArgs.length === 0 ? undefined : psArgs.join(' '),
    });
    output.write(renderTable([titles, ...processes]));
  },
});
