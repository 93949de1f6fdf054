import { EngineError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';
import type { Location, Source } from './source.ts';

/** The checks of Docker's builder (docs.docker.com/reference/build-checks), by their names there. */
export const checkNames = [
  'StageNameCasing',
  'FromAsCasing',
  'NoEmptyContinuation',
  'ConsistentInstructionCasing',
  'DuplicateStageName',
  'ReservedStageName',
  'JSONArgsRecommended',
  'MaintainerDeprecated',
  'UndefinedArgInFrom',
  'WorkdirRelativePath',
  'UndefinedVar',
  'MultipleInstructionsDisallowed',
  'LegacyKeyValueFormat',
  'InvalidBaseImagePlatform',
  'RedundantTargetPlatform',
  'SecretsUsedInArgOrEnv',
  'InvalidDefaultArgInFrom',
  'FromPlatformFlagConstDisallowed',
  'CopyIgnoredFile',
  'InvalidDefinitionDescription',
  'ExposeProtoCasing',
  'ExposeInvalidFormat',
] as const;
export type CheckName = (typeof checkNames)[number];

/** Only on request (`check=experimental=…`). */
const experimentalNames: ReadonlySet<string> = new Set<CheckName>(['InvalidDefinitionDescription']);

/** A thing that is allowed and worth a word. `check` is missing when it is none of Docker's checks. */
export type Warning = { readonly message: string; readonly line?: number | undefined; readonly check?: CheckName | undefined };

type Names = ReadonlySet<string> | 'all';
export type CheckOptions = { readonly skip: Names; readonly experimental: Names; readonly error: boolean };

const noOptions: CheckOptions = { skip: new Set(), experimental: new Set(), error: false };

/** `skip=A,B;error=true;experimental=all`, in any order (Dockerfile reference, "check"). `fail` makes the error that is thrown. */
export function parseCheckOptions(text: string, fail: (message: string, hint?: string) => EngineError): CheckOptions {
  let options = noOptions;
  if (text.trim() === '') return options;
  for (const part of text.split(';')) {
    const equals = part.indexOf('=');
    const key = (equals < 0 ? part : part.slice(0, equals)).trim();
    const value = equals < 0 ? '' : part.slice(equals + 1).trim();
    if (equals < 0 || !['skip', 'error', 'experimental'].includes(key)) {
      throw fail(
        `${JSON.stringify(part)} is not an option of checks`,
        suggestion(key, ['skip', 'error', 'experimental']) ??
          'There are skip=NAMES, experimental=NAMES and error=true, with ";" between them.',
      );
    }
    if (key !== 'error') options = { ...options, [key]: value === 'all' ? 'all' : new Set(value.split(',').map((name) => name.trim())) };
    else if (/^(1|t|true)$/i.test(value)) options = { ...options, error: true };
    else if (/^(0|f|false)$/i.test(value)) options = { ...options, error: false };
    else throw fail(`error takes true or false, not ${JSON.stringify(value)}`);
  }
  return options;
}

type Found = { readonly warnings: Warning[]; readonly violated: Set<CheckName>; readonly onWarning: (warning: Warning) => void };

/** Collects the warnings of one build, less those that the Dockerfile says to skip. */
export class Checks {
  readonly #options: CheckOptions;
  readonly #found: Found;

  /** `onWarning` is told of each at once, since what follows may fail. */
  constructor(options: CheckOptions, found: Partial<Found> = {}) {
    this.#options = options;
    this.#found = { warnings: [], violated: new Set(), onWarning: () => undefined, ...found };
  }

  /** The same for one instruction, whose comments may skip more: `# check=skip=NAME // why`. What they do not say right is a comment. */
  forInstruction(comments: readonly string[]): Checks {
    for (const comment of comments) {
      const text = /^check\s*=\s*(\S+)/i.exec(comment)?.[1];
      if (text === undefined) continue;
      try {
        const more = parseCheckOptions(text, (message) => new EngineError('InvalidArgument', 'CHECK_INVALID', message));
        const options = {
          ...this.#options,
          skip: united(this.#options.skip, more.skip),
          experimental: united(this.#options.experimental, more.experimental),
        };
        return new Checks(options, this.#found);
      } catch (error) {
        if (error instanceof EngineError) return this;
        throw error;
      }
    }
    return this;
  }

  report(check: CheckName, location: Location, message: string): void {
    const { skip, experimental } = this.#options;
    if (experimentalNames.has(check)) {
      if (experimental !== 'all' && !experimental.has(check)) return;
    } else if (skip === 'all' || skip.has(check)) return;
    this.#found.violated.add(check);
    this.#add({ message: `${check}: ${message}`, line: location.line, check });
  }

  /** A warning that no option silences. */
  warn(message: string, line?: number): void {
    this.#add({ message, line });
  }

  #add(warning: Warning): void {
    this.#found.warnings.push(warning);
    this.#found.onWarning(warning);
  }

  get warnings(): readonly Warning[] {
    return this.#found.warnings;
  }

  /** With `error=true` and something found: what ends the build. */
  failure(source: Source): EngineError | undefined {
    if (!this.#options.error || this.#found.violated.size === 0) return undefined;
    const names = [...this.#found.violated].join(', ');
    const message = `${source.name} does not pass its checks: ${names}`;
    return new EngineError('InvalidArgument', 'CHECKS_FAILED', message, {
      hint: 'It says check=error=true. The warnings above show the places; "# check=skip=NAME" skips a check.',
    });
  }
}

function united(a: Names, b: Names): Names {
  return a === 'all' || b === 'all' ? 'all' : new Set([...a, ...b]);
}

/** ` (did you mean X?)`, or nothing. */
export function didYouMean(word: string, candidates: Iterable<string>, prefix = ''): string {
  const hint = suggestion(word, candidates, prefix);
  return hint === undefined ? '' : ` (${hint.charAt(0).toLowerCase()}${hint.slice(1)})`;
}
