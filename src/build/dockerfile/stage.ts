import { suggestion } from '../../base/nearest.ts';
import { defaultPath } from '../../oci/config.ts';
import type { HistoryEntry, ImageConfig, RunConfig } from '../../oci/image.ts';
import type { Place, VertexId } from '../graph/vertex.ts';
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
  readonly #warn: (message: string, line?: number) => void;
  vertex: VertexId;
  /** CMD was given in this stage, so ENTRYPOINT leaves it. */
  hasCommand = false;
  /** ONBUILD instructions of this stage; those of its base are used up by it. */
  triggers: string[] = [];
  /** Steps with a vertex, for `[name 2/5]`. */
  step = 0;
  totalSteps = 0;

  constructor(name: string, base: StageBase, warn: (message: string, line?: number) => void) {
    this.name = name;
    this.vertex = base.vertex;
    const { created: _created, rootfs: _rootfs, history: _history, ...config } = structuredClone(base.config);
    const { OnBuild: _used, ...run } = config.config ?? {};
    this.config = { ...config, config: run };
    this.history = [...base.history];
    this.variables = base.variables.copy();
    this.buildArgs = [...base.buildArgs];
    this.#warn = warn;
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
  expand(source: Source, location: Location, word: string, escapeCharacter: string): string {
    const result = expandAt(source, location, word, this.variables, { escape: escapeCharacter });
    for (const name of result.unset) {
      if (!/^\w{2,}$/.test(name)) continue;
      const hint = suggestion(name, this.variables.names(), '$');
      this.#warn(`the variable $${name} is not set${hint === undefined ? '' : `. ${hint}`}`, location.line);
    }
    return result.text;
  }

  expandWords(source: Source, location: Location, word: string, escapeCharacter: string): readonly string[] {
    return expandAt(source, location, word, this.variables, { escape: escapeCharacter }).words;
  }

  /** `[name 2/5] text`; counts. */
  nextName(text: string): string {
    this.step++;
    const prefix = this.name === '' ? '' : `${this.name} `;
    return `[${prefix}${String(this.step).padStart(String(this.totalSteps).length)}/${this.totalSteps}] ${text}`;
  }
}

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
