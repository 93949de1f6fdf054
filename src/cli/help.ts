import type { Command as Parser } from 'commander';
import { catalog, type Entry, sections } from './catalog.ts';
import { boolean, text } from './flags.ts';
import type { Output } from './output.ts';
import { parserOf } from './parser.ts';

/** What comes before a command's name. */
export const program = {
  summary: 'From source code to a running container, and the next change there in seconds',
  flags: {
    config: text('Folder of config.json, with credentials of registries (DOCKER_CONFIG, ~/.docker)', { value: 'FOLDER' }),
    help: boolean('Show this, or with a command what it takes', { short: 'h' }),
    host: text('Where the daemon listens: unix://, tcp:// or ssh:// (SLIPWAY_HOST, DOCKER_HOST)', { short: 'H', value: 'ADDRESS' }),
    tls: boolean('Use TLS over tcp://, without checking the daemon’s certificate'),
    tlscacert: text('Authority that the daemon’s certificate must come from (ca.pem)', { value: 'FILE' }),
    tlscert: text('Your certificate (cert.pem)', { value: 'FILE' }),
    tlskey: text('Its private key (key.pem)', { value: 'FILE' }),
    tlsverify: boolean('Use TLS and check the daemon’s certificate (DOCKER_TLS_VERIFY; files in DOCKER_CERT_PATH)'),
    version: boolean('Show the version', { short: 'v' }),
  },
  args: '[COMMAND] [ARG...]',
  interspersed: false,
};

/** Shows the words of every command with a line on each. */
export async function programHelp(output: Pick<Output, 'write'>): Promise<void> {
  const parser = parserOf('', program, output).addHelpText(
    'after',
    '\n"slipway COMMAND --help" says more about a command. To see everything at work: slipway demo',
  );
  for (const [title, names] of sections) for (const name of names) await addEntry(parser, name, catalog[name], `${title}:`);
  parser.outputHelp();
}

export async function groupHelp(path: string, group: Entry & { kind: 'group' }, output: Pick<Output, 'write'>): Promise<void> {
  const parser = parserOf(path, { summary: group.summary, flags: {} }, output).usage('COMMAND');
  for (const name of Object.keys(group.entries).sort()) await addEntry(parser, name, group.entries[name], 'Commands:');
  parser.outputHelp();
}

async function addEntry(parser: Parser, name: string, entry: Entry | undefined, heading: string): Promise<void> {
  if (entry === undefined || (entry.kind === 'command' && entry.aliasOf !== undefined)) return;
  const { summary } = entry.kind === 'command' ? await entry.load() : entry;
  parser.helpCommand(false).command(name).summary(summary).helpGroup(heading);
}
