import { defaultPath } from '../../oci/config.ts';
import type { HistoryEntry, ImageConfig, Platform, RunConfig } from '../../oci/image.ts';
import type { Place, VertexId } from '../graph/vertex.ts';
import { type Checks, didYouMean } from './checks.ts';
import type { Variables } from './environment.ts';
import { ExpansionError, expand } from './expand.ts';
import { absolutePath } from './paths.ts';
import type { Location, Source } from './source.ts';

export type StageHistory = {
  readonly entry: HistoryEntry /** The vertex whose result this entry made. */;
  readonly vertex?: VertexId | undefined;
};

/** What a stage stands on: an image, an earlier stage, or nothing. */
export type StageBase = {
  readonly vertex: VertexId;
  readonly config: ImageConfig;
  readonly history: readonly StageHistory[];
  readonly variables: Variables;
  readonly buildArgs: readonly BuildArgument[];
  /** A WORKDIR of this Dockerfile came before. */
  readonly workdirSet: boolean;
};

export type BuildArgument = { readonly key: string; readonly value: string | undefined };

const historyComment = 'buildkit.dockerfile.v0';

/** A stage while its instructions are applied: the current tree, variables and image config. One for each stage; not shared. */
export class StageState {
  readonly name: string;
  readonly config: ImageConfig & { config: RunConfig };
  readonly history: StageHistory[];
  readonly variables: Variables;
  readonly buildArgs: BuildArgument[];
  vertex: VertexId;
  /** CMD was given in this stage, so ENTRYPOINT leaves it. */
  hasCommand = false;
  workdirSet: boolean;
  /** What images have to be for that it stands on or copies from; undefined when nobody named a platform. */
  platform: Platform | undefined;
  /** Where the stage's CMD, ENTRYPOINT and HEALTHCHECK stand: only the last of each counts. */
  readonly single = new Map<string, Location>();
  /** ONBUILD instructions of this stage; those of its base are used up by it. */
  triggers: string[] = [];
  /** Steps with a vertex, for `[name 2/5]`. */
  step = 0;
  totalSteps = 0;

  constructor(name: string, base: StageBase) {
    this.name = name;
    this.vertex = base.vertex;
    const { created: _created, rootfs: _rootfs, history: _history, ...config } = structuredClone(base.config);
    const { OnBuild: _used, ...run } = config.config ?? {};
    this.config = { ...config, config: run };
    this.history = [...base.history];
    this.variables = base.variables.copy();
    this.buildArgs = [...base.buildArgs];
    this.workdirSet = base.workdirSet;
    if (!(run.Env ?? []).some((item) => item.startsWith('PATH='))) this.setEnv('PATH', defaultPath.slice('PATH='.length));
    if (run.WorkingDir) run.WorkingDir = absolutePath('/', run.WorkingDir).replace(/(?<=.)\/\.?$/, '');
  }

  asBase(): StageBase {
    return {
      vertex: this.vertex,
      config: this.config,
      history: this.history,
      variables: this.variables,
      buildArgs: this.buildArgs,
      workdirSet: this.workdirSet,
    };
  }

  get run(): RunConfig {
    return this.config.config;
  }

  get workingDir(): string {
    return this.run.WorkingDir || '/';
  }

  setEnv(name: string, value: string): void {
    const env = this.run.Env ?? [];
    const at = env.findIndex((item) => item.startsWith(`${name}=`));
    if (at < 0) env.push(`${name}=${value}`);
    else env[at] = `${name}=${value}`;
    this.run.Env = env;
    this.variables.set(name, value);
  }

  /** One line of history. With a vertex it stands for a layer. `marked`: BuildKit's own mark, which it gives to all that ran. */
  record(createdBy: string, vertex?: VertexId, marked = vertex !== undefined): void {
    this.history.push({
      entry: {
        created_by: marked ? `${createdBy} # buildkit` : createdBy,
        comment: historyComment,
        ...(vertex === undefined ? { empty_layer: true } : {}),
      },
      vertex,
    });
  }

  /** Replaces variables in one word of an instruction. */
  expand(around: Expanding, location: Location, word: string, options: { ignoreQuotes?: boolean } = {}): string {
    const character = options.ignoreQuotes === true ? '\\' : around.escape;
    const result = expandAt(around.source, location, word, this.variables, { escape: character, ...options });
    if (result.unset.size === 0) return result.text;
    const declared = new Set(this.buildArgs.map(({ key }) => key));
    for (const name of result.unset) {
      if (declared.has(name) || around.told.has(name)) continue;
      around.told.add(name);
      const hint = didYouMean(name, this.variables.names(), '$');
      around.checks.report('UndefinedVar', location, `Usage of undefined variable '$${name}'${hint}`);
    }
    return result.text;
  }

  /** The words of one argument, which may be several once its variables are replaced. Unset ones are not told of, as in BuildKit. */
  expandWords(around: Expanding, location: Location, word: string): readonly string[] {
    return expandAt(around.source, location, word, this.variables, { escape: around.escape }).words;
  }

  /** `[name 2/5] text`; counts. */
  nextName(text: string): string {
    this.step++;
    const prefix = this.name === '' ? '' : `${this.name} `;
    return `[${prefix}${String(this.step).padStart(String(this.totalSteps).length)}/${this.totalSteps}] ${text}`;
  }
}

/** What replacing variables needs of the instruction's surroundings. `told`: unset names that were told of. */
export type Expanding = { readonly source: Source; readonly escape: string; readonly checks: Checks; readonly told: Set<string> };

/** Expansion whose errors show the place. */
export function expandAt(source: Source, location: Location, word: string, variables: Variables, options: Parameters<typeof expand>[2]) {
  try {
    return expand(word, variables, options);
  } catch (error) {
    if (!(error instanceof ExpansionError)) throw error;
    throw source.error('InvalidArgument', 'EXPANSION_FAILED', location, `cannot expand ${word.slice(0, 200)}: ${error.message}`, {
      cause: error,
    });
  }
}

export function placeOf(source: Source, location: Location): Place {
  const { line, column, length } = location;
  return { file: source.name, line, column, length, text: source.lines[line - 1] ?? '' };
}
