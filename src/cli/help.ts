import { catalog, type Entry, sections } from './catalog.ts';
import type { Command } from './command.ts';
import type { Flag, FlagTable } from './flags.ts';

const program = 'slipway';

/** The words of every command with a line on each. */
export async function programHelp(): Promise<string> {
  const parts = [
    `Usage: ${program} [--host unix:///PATH] COMMAND`,
    '',
    'From source code to a running container, and the next change there in seconds.',
  ];
  for (const [title, names] of sections) {
    const rows = await Promise.all(names.map(async (name) => [name, await summaryOf(catalog[name])] as const));
    parts.push('', `${title}:`, columns(rows));
  }
  parts.push(
    '',
    'Options:',
    columns([
      ['-H, --host ADDRESS', 'Where the daemon listens (SLIPWAY_HOST, unix:///run/slipway/slipway.sock)'],
      ['-v, --version', 'Show the version'],
      ['    --help', 'Show this, or with a command what it takes'],
    ]),
    '',
    `"${program} COMMAND --help" says more about a command. To see everything at work: ${program} demo`,
  );
  return `${parts.join('\n')}\n`;
}

export async function groupHelp(path: string, group: Entry & { kind: 'group' }): Promise<string> {
  const names = Object.entries(group.entries).filter(([, entry]) => !(entry.kind === 'command' && entry.aliasOf !== undefined));
  const rows = await Promise.all(names.map(async ([name, entry]) => [name, await summaryOf(entry)] as const));
  const sorted = rows.sort(([a], [b]) => (a < b ? -1 : 1));
  return `Usage: ${program} ${path} COMMAND\n\n${group.summary}.\n\nCommands:\n${columns(sorted)}\n`;
}

export function commandHelp(path: string, command: Command): string {
  const parts = [`Usage: ${program} ${path} ${command.usage}`.trimEnd(), '', `${command.summary}.`];
  if (command.description !== undefined) parts.push('', wrap(command.description, 100).join('\n'));
  if (command.examples !== undefined)
    parts.push('', 'Examples:', columns(command.examples.map(([line, says]) => [`${program} ${line}`, says])));
  const rows = flagRows(command.flags);
  if (rows.length > 0) parts.push('', 'Options:', columns(rows));
  return `${parts.join('\n')}\n`;
}

function flagRows(flags: FlagTable): [string, string][] {
  return Object.entries(flags)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, flag]) => [flagTitle(name, flag), flag.kind === 'list' ? `${flag.help} (many times)` : flag.help]);
}

function flagTitle(name: string, flag: Flag<unknown>): string {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `;
  return `${short}--${name}${flag.kind === 'boolean' ? '' : ` ${flag.value ?? 'VALUE'}`}`;
}

async function summaryOf(entry: Entry | undefined): Promise<string> {
  if (entry === undefined) return '';
  return entry.kind === 'command' ? (await entry.load()).summary : entry.summary;
}

/** Two columns; a title too long for the first has the line to itself. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.min(34, Math.max(...rows.map(([title]) => title.length)));
  return rows
    .flatMap(([title, text]) =>
      title.length > width ? [`  ${title}`, `  ${' '.repeat(width)}  ${text}`] : [`  ${title.padEnd(width)}  ${text}`],
    )
    .map((line) => line.trimEnd())
    .join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
