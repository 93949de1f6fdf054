import { EngineError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { catalog, type Entry } from './catalog.ts';
import { EngineClient } from './client/client.ts';
import { endpointOf, type TlsFlags } from './client/endpoint.ts';
import type { Command, Context } from './command.ts';
import { printError, statusOf } from './errors.ts';
import { usageError } from './flags.ts';
import { groupHelp, program, programHelp } from './help.ts';
import { Output, ReaderGone } from './output.ts';
import { parse, parserOf } from './parser.ts';
import { clientVersion } from './version.ts';

/** 128 + SIGPIPE: what a shell shows for a program whose reader has gone. */
const readerGoneStatus = 141;

/** Docker's commands that this version has not: told apart from words that nobody knows. */
const absent = new Set('compose buildx swarm service stack node secret config plugin manifest context'.split(' '));

/** Runs one command line and resolves to the exit status. Errors are printed. */
export async function dispatch(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const output = new Output(env);
  let found: Found | undefined;
  try {
    const { values: global, args } = parse('', program, argv, output);
    if (global.version) {
      output.line(`Slipway version ${clientVersion}`);
      return 0;
    }
    const [word, ...rest] = args;
    if (global.help || word === undefined) return await printHelp(output, [], global.help ? 0 : 1);
    if (word === 'help') return await printHelp(output, rest, 0);
    found = find(args);
    // `await`: a rejection belongs to the handler below.
    return await runEntry(found, { output, env, global });
  } catch (error) {
    return failed(output, error, found);
  }
}

type Found = { entry: Entry; path: string; rest: readonly string[]; command?: Command };

function find(args: readonly string[]): Found {
  let entries = catalog;
  for (let depth = 0; ; depth++) {
    const word = args[depth] ?? '';
    const path = args.slice(0, depth + 1).join(' ');
    const entry = Object.hasOwn(entries, word) ? entries[word] : undefined;
    if (entry === undefined) throw unknownCommand(path, word, entries);
    const next = args[depth + 1];
    if (entry.kind !== 'group' || next === undefined || next.startsWith('-')) return { entry, path, rest: args.slice(depth + 1) };
    entries = entry.entries;
  }
}

function unknownCommand(path: string, word: string, entries: Readonly<Record<string, Entry>>): EngineError {
  if (entries === catalog && absent.has(word)) {
    return usageError(`this version of Slipway has no "${word}"`, '"slipway --help" lists what there is.');
  }
  const known = nearest(word, Object.keys(entries));
  return usageError(
    `unknown command: slipway ${path}`,
    known === undefined ? `"slipway ${path.slice(0, -word.length)}--help" lists the commands.` : `Did you mean "${known}"?`,
  );
}

async function runEntry(
  found: Found,
  {
    output,
    env,
    global,
  }: { output: Output; env: NodeJS.ProcessEnv; global: TlsFlags & { host?: string | undefined; config?: string | undefined } },
): Promise<number> {
  const { entry, path, rest } = found;
  if (entry.kind === 'group')
    return printHelp(output, path.split(' '), rest.length === 0 || rest[0] === '--help' || rest[0] === '-h' ? 0 : 125);
  if (entry.kind === 'program') return (await import('./commands/programs.ts')).runProgram(entry.program, rest);
  const command = await entry.load();
  found.command = command;
  const { values, args, helped } = parse(path, command, rest, output);
  if (helped) return 0;
  const context: Context = { client: new EngineClient(endpointOf(global, env)), output, env, configFolder: global.config, path };
  return command.run(context, values, args);
}

/** Help that nobody asked for goes to standard error. */
async function printHelp(output: Output, words: readonly string[], status: number): Promise<number> {
  const to = status === 0 ? output : { write: (shown: string) => output.error(shown) };
  if (words.length === 0) await programHelp(to);
  else {
    const { entry, path } = find(words);
    if (entry.kind === 'program') return (await import('./commands/programs.ts')).runProgram(entry.program, ['--help']);
    if (entry.kind === 'group') await groupHelp(path, entry, to);
    else parserOf(path, await entry.load(), to).outputHelp();
  }
  return status;
}

function failed(output: Output, error: unknown, found: Found | undefined): number {
  if (error instanceof ReaderGone) return readerGoneStatus;
  printError(output, error);
  if (error instanceof EngineError && error.code === 'USAGE' && error.hint === undefined && found !== undefined) {
    output.error(`See "slipway ${found.path} --help".\n`);
  }
  return statusOf(error, found?.command?.errorStatus ?? 1);
}
