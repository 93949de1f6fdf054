import { CommanderError, Option, Command as Parser } from 'commander';
import type { EngineError } from '../base/errors.ts';
import type { Command } from './command.ts';
import { type Flag, type FlagTable, usageError, type Values } from './flags.ts';
import type { Output } from './output.ts';

type Grammar = Pick<Command, 'summary' | 'flags'> & Partial<Pick<Command, 'description' | 'examples' | 'args' | 'interspersed'>>;
type Writer = Pick<Output, 'write'>;
/** `helped`: help was asked for and has been shown; there is nothing else to do. */
type Parsed<F extends FlagTable> = { values: Values<F>; args: string[]; helped: boolean };

/** Splits what follows the words `path` into flags and arguments; help that is asked for goes to `output`. Throws InvalidArgument `USAGE`. */
export function parse<F extends FlagTable>(
  path: string,
  grammar: Grammar & { flags: F },
  argv: readonly string[],
  output: Writer,
): Parsed<F> {
  const parser = parserOf(path, grammar, output, argv);
  addAssignments(parser, argv);
  let helped = false;
  try {
    parser.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw asUsageError(parser, error);
    helped = true;
  }
  return { values: parser.opts(), args: parser.args, helped };
}

/**
 * commander's command for the words `path`. `output` gets the help. To make the 80 options of `run` takes commander 3 ms: those that `argv` does not
 * name are made when commander begins a help text or a hint, if it does.
 */
export function parserOf(path: string, grammar: Grammar, output: Writer, argv: readonly string[] = []): Parser {
  const { summary, description, examples, flags, args, interspersed } = grammar;
  const parser = new Parser(`slipway ${path}`.trimEnd())
    .description([`${summary}.`, ...(description === undefined ? [] : [description])].join('\n\n'))
    .usage(args === undefined ? '[options]' : `[options] ${args}`)
    .helpOption(flags.help === undefined && '-h, --help', 'Show this')
    .passThroughOptions(interspersed === false)
    .exitOverride()
    .configureHelp({ sortOptions: true, subcommandTerm: (command) => command.name() })
    .configureOutput({ writeOut: (shown) => output.write(shown), outputError() {} });
  if (args !== undefined) parser.arguments(args);
  if (examples !== undefined)
    parser.addHelpText('after', `\nExamples:\n${examples.map(([line, says]) => `  # ${says}\n  slipway ${line}`).join('\n')}`);
  const typed = argv.filter((word) => word.startsWith('-'));
  const later: (() => void)[] = [];
  for (const [name, flag] of Object.entries(flags)) {
    const add = () => addFlag(parser, name, flag);
    if (flag.kind === 'list') parser.setOptionValue(name, []);
    if (mayMean(typed, name, flag)) add();
    else later.push(add);
  }
  parser.createHelp = () => {
    for (const add of later.splice(0)) add();
    return Parser.prototype.createHelp.call(parser);
  };
  return parser;
}

/** Too often true rather than too seldom: `-sit` may mean `-s`, `-i` and `-t`. */
function mayMean(typed: readonly string[], name: string, { short, aliases = [] }: Flag<unknown>): boolean {
  return typed.some(
    (word) =>
      (short !== undefined && word[1] !== '-' && word.includes(short)) || [name, ...aliases].some((each) => word.includes(`-${each}`)),
  );
}

function asUsageError(parser: Parser, { message }: CommanderError): EngineError {
  const [problem = '', suggestion] = message.replace(/^error: /, '').split('\n');
  const usage = `Usage: ${parser.name()} ${parser.usage()}\nSee "${parser.name()} --help".`;
  return usageError(problem, suggestion?.replace(/^\((.*)\)$/, '$1') ?? usage);
}

/** Keeps its value under the flag's own name; commander would write `stopTimeout`, and take `--no-cache` for the opposite of `--cache`. */
class NamedOption extends Option {
  readonly #name: string;

  constructor(name: string, spelled: string, help?: string) {
    super(spelled, help);
    this.#name = name;
  }

  override attributeName(): string {
    return this.#name;
  }
}

function addFlag(parser: Parser, name: string, flag: Flag<unknown>): void {
  const add = (spelled: string, hidden: boolean) => {
    const value = flag.kind === 'boolean' ? '' : ` <${flag.value ?? 'VALUE'}>`;
    const option = new NamedOption(name, `${spelled}${value}`, flag.kind === 'list' ? `${flag.help} (many times)` : flag.help);
    option.negate = false;
    if (flag.kind === 'integer') option.argParser((given) => parseInteger(name, given));
    if (flag.kind === 'list') option.argParser((given, before: string[]) => [...before, given]);
    parser.addOption(option.hideHelp(hidden));
  };
  add(flag.short === undefined ? `--${name}` : `-${flag.short}, --${name}`, false);
  for (const alias of flag.aliases ?? []) add(`--${alias}`, true);
  if (flag.negatable) parser.addOption(new NamedOption(name, `--no-${name}`).hideHelp());
}

/**
 * Hands and scripts know `--rm=false`, `-i=true` and `-p=80:80` from Docker, and commander does not: each such word becomes an option of its own,
 * spelled as it was typed. commander then finds it where it looks for options, and leaves it alone behind the image or as another one's value.
 */
function addAssignments(parser: Parser, argv: readonly string[]): void {
  const added = new Set<string>();
  for (const word of argv) {
    const match = /^(?:(--[^=]+)|-[^-=]*([^-=]))=(.*)$/s.exec(word);
    if (match === null) continue;
    const [, long, letter, value = ''] = match;
    const target = parser.options.find((option) => (long === undefined ? option.short === `-${letter}` : option.long === long));
    const spelled = `${long ?? `-${letter}`}=${value}`;
    if (target === undefined || target.negate || (long !== undefined && target.required) || added.has(spelled)) continue;
    const option = new NamedOption(target.attributeName(), '--assignment').preset(value).hideHelp();
    option.long = spelled;
    if (!target.required) option.argParser((given) => parseBoolean(target.attributeName(), given));
    else if (target.parseArg !== undefined) option.argParser(target.parseArg);
    parser.addOption(option);
    added.add(spelled);
  }
}

function parseBoolean(name: string, value: string): boolean {
  if (/^(?:1|t|T|true|TRUE|True)$/.test(value)) return true;
  if (/^(?:0|f|F|false|FALSE|False)$/.test(value)) return false;
  throw usageError(`invalid argument "${value}" for --${name}: it must be true or false`);
}

function parseInteger(name: string, value: string): number {
  const number = /^[+-]?\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw usageError(`invalid argument "${value}" for --${name}: it must be a whole number`);
  return number;
}
