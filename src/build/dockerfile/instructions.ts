import { parseDevice } from './devices.ts';
import { Flags } from './flags.ts';
import { parseHealthcheck } from './healthcheck.ts';
import { parseHeredocMark } from './heredoc.ts';
import type { Location } from './source.ts';
import type {
  CommandLine,
  Common,
  CopyInstruction,
  FromInstruction,
  Instruction,
  InstructionName,
  KeyValue,
  Line,
  RunInstruction,
} from './syntax.ts';
import { parseJsonArray, splitSpaces, splitWords, type Word } from './words.ts';

const nameRules = 'a name begins with a lower-case letter and has only lower-case letters, digits, "-", "_" and "."';

export function parseFrom(line: Line): FromInstruction {
  const flags = new Flags(line, { platform: 'string' });
  const words = splitSpaces(line.rest);
  const [base, as, name] = words;
  if (base === undefined || (words.length !== 1 && (words.length !== 3 || as?.text.toLowerCase() !== 'as'))) {
    throw line.source.invalid('FROM_INVALID', wholeLine(line), 'FROM takes an image, or an image and AS and a name');
  }
  if (name !== undefined && !/^[a-z][a-z0-9\-_.]*$/.test(name.text.toLowerCase())) {
    throw line.source.invalid(
      'STAGE_NAME_INVALID',
      wordPlace(line, name),
      `${JSON.stringify(name.text)} is not a stage name`,
      `In AS NAME, ${nameRules}.`,
    );
  }
  return {
    ...common(line),
    kind: 'FROM',
    base: base.text,
    name: name?.text.toLowerCase(),
    written: as === undefined || name === undefined ? undefined : { as: as.text, name: name.text },
    platform: flags.text('platform'),
  };
}

/** Every instruction but FROM. */
export function parseInstruction(name: Exclude<InstructionName, 'FROM'>, line: Line): Instruction {
  switch (name) {
    case 'COPY':
    case 'ADD':
      return parseCopy(name, line);
    case 'RUN':
      return parseRun(line);
    case 'ENV':
    case 'LABEL':
      noFlags(line);
      return { ...common(line), kind: name, pairs: parsePairs(line) };
    case 'ARG':
      noFlags(line);
      return { ...common(line), kind: 'ARG', args: parseArgs(line) };
    case 'CMD':
    case 'ENTRYPOINT':
      noFlags(line);
      return { ...common(line), kind: name, ...commandLine(line, line.rest, line.restOffset) };
    case 'SHELL':
      return parseShell(line);
    case 'HEALTHCHECK':
      return { ...common(line), kind: 'HEALTHCHECK', healthcheck: parseHealthcheck(line) };
    case 'EXPOSE':
      noFlags(line);
      return {
        ...common(line),
        kind: 'EXPOSE',
        ports: requireWords(line)
          .map((word) => word.text)
          .sort(),
      };
    case 'VOLUME':
      return parseVolume(line);
    case 'ONBUILD':
      return parseOnbuild(line);
    case 'WORKDIR':
    case 'USER':
    case 'STOPSIGNAL':
    case 'MAINTAINER':
      noFlags(line);
      requireWords(line);
      return { ...common(line), kind: name, value: line.rest };
  }
}

function common(line: Line): Common {
  return { location: line.location, text: line.text, keyword: line.keyword, comments: line.comments };
}

function wholeLine(line: Line): Location {
  return { ...line.location, length: line.text.length };
}

function wordPlace(line: Line, word: Word): Location {
  return line.locate(line.restOffset + word.offset, word.text.length);
}

function noFlags(line: Line): void {
  new Flags(line, {});
}

function requireWords(line: Line): Word[] {
  const words = splitSpaces(line.rest);
  if (words.length === 0) throw line.source.invalid('ARGUMENT_MISSING', wholeLine(line), `${line.keyword} needs at least one argument`);
  return words;
}

function jsonArray(line: Line, text: string, offset: number): string[] | undefined {
  const parsed = parseJsonArray(text);
  if (parsed === 'not-json') return undefined;
  if (parsed === 'not-strings') {
    throw line.source.invalid('JSON_INVALID', line.locate(offset, text.length), `a JSON array after ${line.keyword} holds strings only`);
  }
  return parsed;
}

function commandLine(line: Line, text: string, offset: number): CommandLine {
  const json = jsonArray(line, text, offset);
  if (json !== undefined) return { args: json, shell: false };
  return { args: text === '' ? [] : [text], shell: true };
}

const copyFlags = { chown: 'string', chmod: 'string', link: 'boolean', exclude: 'list' } as const;

function parseCopy(kind: 'COPY' | 'ADD', line: Line): CopyInstruction {
  const flags = new Flags(
    line,
    kind === 'COPY'
      ? { ...copyFlags, from: 'string', parents: 'boolean' }
      : { ...copyFlags, checksum: 'string', 'keep-git-dir': 'boolean', unpack: 'boolean' },
  );
  const json = jsonArray(line, line.rest, line.restOffset);
  const words = json?.map((text) => ({ text, offset: 0 })) ?? splitSpaces(line.rest);
  const destination = words.at(-1);
  if (destination === undefined || words.length < 2) {
    throw line.source.invalid(
      'ARGUMENT_MISSING',
      wholeLine(line),
      `${kind} needs a source and a destination`,
      `Write ${kind} SOURCE DESTINATION.`,
    );
  }
  if (json === undefined && parseHeredocMark(destination.text) !== undefined) {
    throw line.source.invalid('HEREDOC_INVALID', wordPlace(line, destination), 'a heredoc cannot be the destination');
  }
  const sources = words.slice(0, -1).filter((word) => json !== undefined || parseHeredocMark(word.text) === undefined);
  const from = flags.get('from');
  return {
    ...common(line),
    kind,
    sources: sources.map((word) => ({ path: word.text, location: json === undefined ? wordPlace(line, word) : wholeLine(line) })),
    heredocs: line.heredocs,
    destination: destination.text,
    from: from?.value,
    fromLocation: from?.location,
    chown: flags.text('chown'),
    chmod: flags.text('chmod'),
    link: flags.boolean('link') ?? false,
    parents: flags.boolean('parents') ?? false,
    excludes: flags.list('exclude').map((flag) => flag.value),
    checksum: flags.text('checksum'),
    keepGitDir: flags.boolean('keep-git-dir'),
    unpack: flags.boolean('unpack'),
  };
}

function parseRun(line: Line): RunInstruction {
  const flags = new Flags(line, { mount: 'list', network: 'string', security: 'string', device: 'list' });
  const command = commandLine(line, line.rest, line.restOffset);
  if (command.args.length === 0) throw line.source.invalid('ARGUMENT_MISSING', wholeLine(line), 'RUN needs a command');
  return {
    ...common(line),
    kind: 'RUN',
    ...command,
    heredocs: line.heredocs,
    mounts: flags.list('mount').map((flag) => ({ text: flag.value, location: flag.location })),
    network: choice(line, flags, 'network', ['default', 'none', 'host']),
    security: choice(line, flags, 'security', ['sandbox', 'insecure']),
    devices: flags.list('device').map((flag) => parseDevice(line.source, flag.value, flag.location)),
  };
}

/** The first choice is the default. */
function choice<const T extends string>(line: Line, flags: Flags, name: string, choices: readonly [T, ...T[]]): T {
  const flag = flags.get(name);
  if (flag === undefined) return choices[0];
  const chosen = choices.find((candidate) => candidate === flag.value);
  if (chosen !== undefined) return chosen;
  throw line.source.invalid('FLAG_INVALID', flag.location, `--${name} is one of ${choices.join(', ')}, not ${JSON.stringify(flag.value)}`);
}

function parsePairs(line: Line): KeyValue[] {
  const words = splitWords(line.rest, line.escape);
  const [first] = words;
  if (first === undefined) throw line.source.invalid('ARGUMENT_MISSING', wholeLine(line), `${line.keyword} needs at least one name=value`);
  if (!first.text.includes('=')) {
    const [, key, value] = /^(\S+)[\t\v\f\r ]+([\s\S]*)$/u.exec(line.rest) ?? [];
    if (key !== undefined && value !== undefined) return [{ key, value, legacy: true }];
    throw line.source.invalid(
      'ARGUMENT_MISSING',
      wordPlace(line, first),
      `${line.keyword} ${first.text} has no value`,
      `Write ${line.keyword} NAME=VALUE.`,
    );
  }
  return words.map((word) => {
    const equals = word.text.indexOf('=');
    if (equals < 0) {
      throw line.source.invalid(
        'ARGUMENT_INVALID',
        wordPlace(line, word),
        `${JSON.stringify(word.text)} is not of the form name=value`,
        'Quote a value that has spaces.',
      );
    }
    if (equals === 0) throw line.source.invalid('ARGUMENT_INVALID', wordPlace(line, word), 'the name before "=" is empty');
    return { key: word.text.slice(0, equals), value: word.text.slice(equals + 1), legacy: false };
  });
}

function parseArgs(line: Line): { key: string; value?: string | undefined }[] {
  requireWords(line);
  return splitWords(line.rest, line.escape).map((word) => {
    const equals = word.text.indexOf('=');
    if (equals === 0) throw line.source.invalid('ARGUMENT_INVALID', wordPlace(line, word), 'the name before "=" is empty');
    return equals < 0 ? { key: word.text } : { key: word.text.slice(0, equals), value: word.text.slice(equals + 1) };
  });
}

function parseShell(line: Line): Instruction {
  noFlags(line);
  const shell = jsonArray(line, line.rest, line.restOffset);
  if (shell === undefined || shell.length === 0) {
    throw line.source.invalid('JSON_INVALID', wholeLine(line), 'SHELL takes a JSON array', 'Write SHELL ["/bin/sh", "-c"].');
  }
  return { ...common(line), kind: 'SHELL', shell };
}

function parseVolume(line: Line): Instruction {
  noFlags(line);
  const volumes = (jsonArray(line, line.rest, line.restOffset) ?? requireWords(line).map((word) => word.text)).map((volume) =>
    volume.trim(),
  );
  if (volumes.length === 0 || volumes.includes('')) throw line.source.invalid('ARGUMENT_INVALID', wholeLine(line), 'VOLUME names no path');
  return { ...common(line), kind: 'VOLUME', volumes };
}

function parseOnbuild(line: Line): Instruction {
  const [word] = requireWords(line);
  const keyword = word?.text.toUpperCase() ?? '';
  if (keyword === 'ONBUILD' || keyword === 'FROM' || keyword === 'MAINTAINER') {
    throw line.source.invalid(
      'ONBUILD_INVALID',
      word === undefined ? wholeLine(line) : wordPlace(line, word),
      `${keyword} cannot be an ONBUILD trigger`,
    );
  }
  // The trigger keeps its own flags, so it is taken from the instruction as written.
  const command = line.text.replace(/^\s*onbuild\s*/i, '');
  const bodies = line.heredocs.map((heredoc) => `\n${heredoc.content}${heredoc.name}`);
  return { ...common(line), kind: 'ONBUILD', trigger: command + bodies.join('') };
}
