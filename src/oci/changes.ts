import { EngineError } from '../base/errors.ts';
import type { Healthcheck, RunConfig } from './image.ts';

/** `import --change` and `commit --change`: one Dockerfile instruction a text, applied in order. Throws InvalidArgument `CHANGE_INVALID`. */
export function applyChanges(config: RunConfig, changes: readonly string[]): RunConfig {
  return changes.reduce(applyChange, config);
}

type Apply = (config: RunConfig, rest: string, change: string) => RunConfig;

const instructions: Record<string, Apply> = {
  CMD: (config, rest) => ({ ...config, Cmd: commandOf(rest, config) }),
  // As in a Dockerfile, a new entry point makes the old arguments meaningless.
  ENTRYPOINT: (config, rest) => ({ ...config, Entrypoint: commandOf(rest, config), Cmd: null }),
  ENV: (config, rest, change) => ({ ...config, Env: pairsOf(rest, change).reduce(setVariable, config.Env ?? []) }),
  LABEL: (config, rest, change) => ({ ...config, Labels: { ...config.Labels, ...Object.fromEntries(pairsOf(rest, change)) } }),
  EXPOSE: (config, rest, change) => ({
    ...config,
    ExposedPorts: { ...config.ExposedPorts, ...Object.fromEntries(wordsOf(rest, change).map((port) => [portOf(port, change), {}])) },
  }),
  VOLUME: (config, rest, change) => ({
    ...config,
    Volumes: { ...config.Volumes, ...Object.fromEntries((jsonOf(rest) ?? wordsOf(rest, change)).map((path) => [path, {}])) },
  }),
  USER: (config, rest) => ({ ...config, User: rest }),
  WORKDIR: (config, rest, change) => {
    const path = wordsOf(rest, change).join(' ');
    return { ...config, WorkingDir: path.startsWith('/') ? path : `${config.WorkingDir ?? ''}/${path}` };
  },
  STOPSIGNAL: (config, rest) => ({ ...config, StopSignal: rest }),
  ONBUILD: (config, rest) => ({ ...config, OnBuild: [...(config.OnBuild ?? []), rest] }),
  SHELL: (config, rest, change) => {
    const words = jsonOf(rest);
    if (words === undefined) throw invalid(change, 'SHELL takes a JSON list');
    return { ...config, Shell: words };
  },
  HEALTHCHECK: (config, rest, change) => ({ ...config, Healthcheck: healthcheckOf(rest, change, config) }),
};

function applyChange(config: RunConfig, change: string): RunConfig {
  const [, name = '', rest = ''] = /^\s*(\S*)\s*(.*)$/s.exec(change) ?? [];
  const apply = instructions[name.toUpperCase()];
  if (apply === undefined) throw invalid(change, `use one of ${Object.keys(instructions).join(', ')}`);
  if (rest.trim() === '') throw invalid(change, 'it has no argument');
  return apply(config, rest.trim(), change);
}

function commandOf(rest: string, config: RunConfig): string[] {
  return jsonOf(rest) ?? [...(config.Shell ?? ['/bin/sh', '-c']), rest];
}

function jsonOf(rest: string): string[] | undefined {
  if (!rest.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(rest);
    return Array.isArray(value) && value.every((word) => typeof word === 'string') ? value : undefined;
  } catch {
    return undefined; // a shell command that begins with a bracket, as Docker takes it
  }
}

/** `A=1 B="x y"`, or the old `A 1 2`. */
function pairsOf(rest: string, change: string): [string, string][] {
  const words = wordsOf(rest, change);
  const [first = ''] = words;
  if (!first.includes('=')) {
    const [, name = '', value] = /^(\S+)\s+(.*)$/s.exec(rest) ?? [];
    if (value === undefined) throw invalid(change, 'expected NAME=VALUE');
    return [[name, value]];
  }
  return words.map((word) => {
    const equals = word.indexOf('=');
    if (equals <= 0) throw invalid(change, `"${word}" is not NAME=VALUE`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
}

function setVariable(env: string[], [name, value]: [string, string]): string[] {
  const made = `${name}=${value}`;
  const index = env.findIndex((variable) => variable.startsWith(`${name}=`));
  return index < 0 ? [...env, made] : env.with(index, made);
}

/** Words by the shell's quoting rules, without expansion. */
function wordsOf(rest: string, change: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < rest.length; at++) {
    const character = rest.charAt(at);
    if (character === '\\' && quote !== "'" && at + 1 < rest.length) word = (word ?? '') + rest.charAt(++at);
    else if (quote !== '') {
      if (character === quote) quote = '';
      else word = (word ?? '') + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== '') throw invalid(change, `a ${quote} is not closed`);
  return word === undefined ? words : [...words, word];
}

function portOf(text: string, change: string): string {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text);
  if (match === null || Number(match[1]) > 65_535) throw invalid(change, `"${text}" is not a port`);
  const [, from, to, protocol = 'tcp'] = match;
  return `${from}${to === undefined ? '' : `-${to}`}/${protocol.toLowerCase()}`;
}

function healthcheckOf(rest: string, change: string, config: RunConfig): Healthcheck {
  const check: Healthcheck = {};
  let text = rest;
  for (let flag = /^--([a-z-]+)=(\S+)\s*/.exec(text); flag !== null; flag = /^--([a-z-]+)=(\S+)\s*/.exec(text)) {
    const [whole, name, value = ''] = flag;
    if (name === 'interval') check.Interval = nanosecondsOf(value, change);
    else if (name === 'timeout') check.Timeout = nanosecondsOf(value, change);
    else if (name === 'start-period') check.StartPeriod = nanosecondsOf(value, change);
    else if (name === 'start-interval') check.StartInterval = nanosecondsOf(value, change);
    else if (name === 'retries' && /^\d{1,9}$/.test(value)) check.Retries = Number(value);
    else throw invalid(change, `the flag --${name}=${value} is not known`);
    text = text.slice(whole.length);
  }
  if (/^none$/i.test(text)) return { Test: ['NONE'] };
  const command = /^cmd\s+(.+)$/is.exec(text)?.[1];
  if (command === undefined) throw invalid(change, 'expected NONE or CMD and a command');
  const words = jsonOf(command);
  if (words !== undefined) return { ...check, Test: ['CMD', ...words] };
  return { ...check, Test: config.Shell === undefined ? ['CMD-SHELL', command] : ['CMD', ...config.Shell, command] };
}

const units: Record<string, number> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Go's durations: `1m30s`, `500ms`. */
function nanosecondsOf(text: string, change: string): number {
  if (!/^(\d+(\.\d+)?(ns|us|ms|s|m|h))+$/.test(text)) throw invalid(change, `"${text}" is not a duration`);
  let total = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)/g)) total += Number(number) * (units[unit] ?? 0);
  return Math.round(total);
}

function invalid(change: string, why: string): EngineError {
  return new EngineError('InvalidArgument', 'CHANGE_INVALID', `the change "${change.slice(0, 200)}" cannot be applied: ${why}`, {
    hint: 'A change reads as a line of a Dockerfile, for example --change \'CMD ["nginx"]\' or --change "ENV A=1".',
  });
}
