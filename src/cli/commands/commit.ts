import { familiarName, parseReference, withDefaultTag } from '../../oci/reference.ts';
import { defineCommand } from '../command.ts';
import { boolean, list, text } from '../flags.ts';

export const commit = defineCommand({
  args: '<CONTAINER> [REPOSITORY[:TAG]]',
  summary: 'Make an image of a container’s files',
  flags: {
    author: text('Who made it', { short: 'a', value: 'TEXT' }),
    change: list('Apply a Dockerfile instruction, such as CMD ["sh"]', { short: 'c', value: 'INSTRUCTION' }),
    message: text('A comment', { short: 'm', value: 'TEXT' }),
    pause: boolean('Freeze the container meanwhile (default true)', { short: 'p' }),
  },
  async run({ client, output }, flags, [container = '', name]) {
    const reference = name === undefined ? undefined : withDefaultTag(parseReference(name));
    const { Id: id } = await client.post<{ Id: string }>('/commit', {
      query: {
        container,
        repo: reference === undefined ? undefined : familiarName(reference),
        tag: reference?.tag,
        author: flags.author,
        changes: flags.change,
        comment: flags.message,
        pause: flags.pause === false ? 0 : 1,
      },
    });
    output.line(id);
  },
});
