import type { Platform } from '../../oci/image.ts';
import { formatPlatform, hostPlatform } from '../../oci/platform.ts';
import type { Checks } from './checks.ts';
import { didYouMean } from './checks.ts';
import { Variables } from './environment.ts';
import type { Expansion } from './expand.ts';
import { expandAt } from './stage.ts';
import type { ArgInstruction, Dockerfile, FromInstruction } from './syntax.ts';

/** What stands for `TARGETSTAGE` when the last stage has no name. */
const unnamedTarget = 'default';

/** Arguments that nobody has to declare; not all of them do something here. */
export const predefinedArgument =
  /^((HTTPS?|FTP|NO|ALL)_PROXY|SOURCE_DATE_EPOCH|(BUILD|TARGET)(PLATFORM|OS|OSVERSION|ARCH|VARIANT|STAGE)|BUILDKIT_.*)$/i;

export type Globals = {
  readonly variables: Variables;
  /** All names that FROM may use: declared ones too that have no value. */
  readonly declared: ReadonlySet<string>;
};

/**
 * The arguments before the first FROM (Dockerfile reference, "ARG", "Automatic platform ARGs in the global scope"), with those of the build: `buildArgs`
 * wins over a default.
 */
export function globalArguments(
  file: Dockerfile,
  options: {
    target?: string | undefined;
    buildArgs: Readonly<Record<string, string>>;
    useArg?: (name: string) => void;
    /** What is built for; this host when not given. */
    platform?: Platform | undefined;
  },
): Globals {
  const { buildArgs, target, platform } = options;
  const stage = target === undefined || target === '' ? file.stages.at(-1)?.from.name : target;
  const variables = platformArguments(stage, platform ?? hostPlatform());
  for (const name of [...variables.names()]) {
    const given = own(buildArgs, name);
    if (given !== undefined) variables.set(name, given);
  }
  const declared = new Set(variables.names());
  for (const instruction of file.globalArgs) {
    for (const argument of instruction.args) {
      declared.add(argument.key);
      options.useArg?.(argument.key);
      const value = own(buildArgs, argument.key) ?? defaultValue(file, instruction, argument.value, variables);
      if (value !== undefined) variables.set(argument.key, value);
    }
  }
  return { variables, declared };
}

function own(values: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

function defaultValue(file: Dockerfile, instruction: ArgInstruction, value: string | undefined, variables: Variables): string | undefined {
  return value === undefined ? undefined : expandAt(file.source, instruction.location, value, variables, { escape: file.escape }).text;
}

function platformArguments(stage: string | undefined, target: Platform): Variables {
  const variables = new Variables();
  for (const [side, platform] of [['BUILD', hostPlatform()] as const, ['TARGET', target] as const]) {
    variables.set(`${side}PLATFORM`, formatPlatform(platform));
    variables.set(`${side}OS`, platform.os);
    variables.set(`${side}OSVERSION`, '');
    variables.set(`${side}ARCH`, platform.architecture);
    variables.set(`${side}VARIANT`, platform.variant ?? '');
  }
  variables.set('TARGETSTAGE', stage ?? unnamedTarget);
  return variables;
}

/** A word of FROM with its variables replaced; tells of names that no ARG declares. */
export function expandFrom(file: Dockerfile, from: FromInstruction, word: string, globals: Globals, checks: Checks): Expansion {
  const result = expandAt(file.source, from.location, word, globals.variables, { escape: file.escape });
  for (const name of result.unset) {
    if (globals.declared.has(name)) continue;
    const hint = didYouMean(name, globals.declared);
    checks.report('UndefinedArgInFrom', from.location, `FROM argument '${name}' is not declared${hint}`);
  }
  return result;
}
