import { EngineError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';
import type { ImageConfig, Platform } from '../../oci/image.ts';
import { formatPlatform, hostPlatform, parsePlatform } from '../../oci/platform.ts';
import type { ImageRecord } from '../../store/port.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, VertexId } from '../graph/vertex.ts';
import { CacheRules, type StepOptions } from '../step-options.ts';
import { applyInstruction } from './apply.ts';
import { Bases, type ContextReference } from './bases.ts';
import { Checks, parseCheckOptions, type Warning } from './checks.ts';
import { checkDefaultBases, checkImagePlatform, checkPlatformFlag } from './from-checks.ts';
import { expandFrom, type Globals, globalArguments, predefinedArgument } from './globals.ts';
import { certainlyIgnored } from './ignored.ts';
import { parseTrigger } from './parser.ts';
import type { Location } from './source.ts';
import { type StageBase, type StageHistory, StageState } from './stage.ts';
import { checkSyntax } from './static-checks.ts';
import type { ContextPath, Surroundings } from './surroundings.ts';
import type { Dockerfile, Instruction, Stage } from './syntax.ts';

export type LowerOptions = StepOptions & {
  readonly target?: string | undefined;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly networkMode: 'default' | 'none' | 'host';
  /** What is built for. Without one, for this host, of whatever images are here. */
  readonly platform?: Platform | undefined;
  /** Throws NotFound when there is no such image. Without a platform the one that is here will do. */
  readonly resolveImage: (reference: string, platform: Platform | undefined) => Promise<ImageRecord>;
  /** Named contexts. */
  readonly contexts?: Readonly<Record<string, ContextReference>> | undefined;
  /** The lines of .dockerignore that hold for the main context. */
  readonly ignore?: readonly string[] | undefined;
  /** Told of each warning at once: what follows may fail. */
  readonly onWarning?: ((warning: Warning) => void) | undefined;
};

export type Lowered = {
  readonly graph: Graph;
  readonly target: VertexId;
  /** Without rootfs, history and creation time. */
  readonly config: ImageConfig;
  readonly history: readonly StageHistory[];
  /** Empty when no step needs the context. */
  readonly contextPaths: readonly ContextPath[];
  readonly warnings: readonly Warning[];
  /** Set when the Dockerfile wants its checks to be errors and some were. To be thrown once the warnings have been told. */
  readonly failure?: EngineError | undefined;
  /** SOURCE_DATE_EPOCH as build argument or as a global ARG. */
  readonly sourceDateEpoch?: string | undefined;
};

/**
 * Turns a Dockerfile into a graph, its target's image config and history. Only stages that the target needs are looked at; only their
 * images are resolved. Follows BuildKit where that and the classic builder differ. Throws EngineError with file, line and an excerpt.
 */
export async function lowerDockerfile(file: Dockerfile, options: LowerOptions): Promise<Lowered> {
  return new Lowering(file, options).run();
}

/** The warnings of a file that goes wrong further on: those that its text alone gives. */
export function warnBeforeFault(before: Dockerfile, options: Pick<LowerOptions, 'buildArgs' | 'onWarning'>): void {
  checkSyntax(before, checksOf(before, options));
}

class Lowering {
  readonly #file: Dockerfile;
  readonly #options: LowerOptions;
  readonly #graph = new GraphBuilder();
  readonly #stages = new Map<number, Promise<StageState>>();
  readonly #contextPaths: ContextPath[] = [];
  readonly #usedArgs = new Set<string>();
  readonly #lineages = new Map<string, number>();
  readonly #checks: Checks;
  readonly #bases: Bases;
  readonly #globals: Globals;
  readonly #isIgnored: (path: string) => boolean;
  readonly #caching: CacheRules;

  constructor(file: Dockerfile, options: LowerOptions) {
    this.#file = file;
    this.#options = options;
    this.#checks = checksOf(file, options);
    this.#bases = new Bases({ file, graph: this.#graph, contexts: options.contexts ?? {}, resolveImage: options.resolveImage });
    this.#isIgnored = certainlyIgnored(options.ignore ?? []);
    this.#caching = new CacheRules(options);
    this.#globals = globalArguments(file, { ...options, useArg: (name) => this.#usedArgs.add(name) });
  }

  async run(): Promise<Lowered> {
    const targetIndex = this.#findTarget();
    checkSyntax(this.#file, this.#checks);
    checkDefaultBases(this.#file, this.#checks);
    const target = await this.#stage(targetIndex);
    this.#warnUnusedArgs();
    for (const message of this.#caching.unknown(this.#stageNames())) this.#checks.warn(message);
    const labels = { ...target.run.Labels, ...this.#options.labels };
    if (Object.keys(labels).length > 0) target.run.Labels = labels;
    if (target.triggers.length > 0) target.run.OnBuild = target.triggers;
    return {
      graph: this.#graph.finish(),
      target: target.vertex,
      config: target.config,
      history: target.history,
      contextPaths: this.#contextPaths,
      warnings: this.#checks.warnings,
      failure: this.#checks.failure(this.#file.source),
      sourceDateEpoch: this.#options.buildArgs.SOURCE_DATE_EPOCH ?? this.#globals.variables.get('SOURCE_DATE_EPOCH'),
    };
  }

  #findTarget(): number {
    const stages = this.#file.stages;
    const wanted = this.#options.target?.toLowerCase();
    if (wanted === undefined || wanted === '') return stages.length - 1;
    const byName = stages.findLastIndex((stage) => stage.from.name === wanted);
    if (byName >= 0) return byName;
    if (/^\d+$/.test(wanted) && Number(wanted) < stages.length) return Number(wanted);
    const names = stages.map((stage) => stage.from.name).filter((name) => name !== undefined);
    throw new EngineError('InvalidArgument', 'STAGE_NOT_FOUND', `${this.#file.source.name} has no stage ${this.#options.target}`, {
      hint:
        suggestion(wanted, names) ?? (names.length > 0 ? `Its stages are ${names.join(', ')}.` : 'Name a stage with FROM IMAGE AS NAME.'),
    });
  }

  #stage(index: number): Promise<StageState> {
    const known = this.#stages.get(index);
    if (known !== undefined) return known;
    const stage = this.#file.stages[index];
    if (stage === undefined) throw new EngineError('Internal', 'STAGE_NOT_FOUND', `there is no stage ${index}`);
    const made = this.#lowerStage(index, stage);
    this.#stages.set(index, made);
    return made;
  }

  async #lowerStage(index: number, stage: Stage): Promise<StageState> {
    const { stages } = this.#file;
    const name = stage.from.name ?? (stages.length > 1 ? `stage-${index}` : '');
    // A named context of a stage's name takes the stage's place, instructions and all.
    if (stage.from.name !== undefined && this.#bases.isContext(stage.from.name)) {
      const { platform } = this.#options;
      const replaced = new StageState(name, (await this.#bases.base(stage.from.name, stage.from.location, platform)).base);
      replaced.platform = platform;
      return replaced;
    }
    const { base, triggers, platform } = await this.#base(index, stage, this.#platformFlag(stage));
    const state = new StageState(name, base);
    state.platform = platform;
    const fromTriggers = triggers.map((text) => parseTrigger(text, `ONBUILD of ${stage.from.base}`));
    const steps = [...fromTriggers, ...stage.instructions];
    state.totalSteps = steps.filter((step) => ['RUN', 'COPY', 'ADD', 'WORKDIR'].includes(step.kind)).length;
    // A trigger's places are in its own text, which nobody sees; errors show the FROM that brought it.
    for (const step of fromTriggers) await this.#apply(index, state, relocated(step, stage.from.location), true);
    for (const step of stage.instructions) await this.#apply(index, state, step, false);
    return state;
  }

  async #apply(index: number, state: StageState, step: Instruction, isTrigger: boolean): Promise<void> {
    const { source } = this.#file;
    const stageNames = [state.name, String(index)];
    const surroundings: Surroundings = {
      graph: this.#graph,
      source,
      escape: this.#file.escape,
      globals: this.#globals.variables,
      buildArgs: this.#options.buildArgs,
      noCache: this.#caching.noCache(stageNames),
      cacheTtlMs: this.#caching.ttlMs(stageNames),
      invalidateSecrets: this.#options.invalidateSecrets ?? [],
      processes: this.#options.processes ?? {},
      networkMode: this.#options.networkMode,
      foreignPlatform: foreign(state.platform),
      checks: this.#checks.forInstruction(step.comments),
      told: new Set(),
      isIgnored: this.#isIgnored,
      isTrigger,
      useArg: (name) => this.#usedArgs.add(name),
      useContext: (path) => this.#contextPaths.push(path),
      resolveFrom: (name, location) => this.#from(index, name, location, state.platform),
      lineage: (text) => this.#lineage(`${source.name}|${state.name}|${text}`),
    };
    await applyInstruction(state, step, surroundings);
  }

  /** Equal texts in one stage are told apart by their order. */
  #lineage(text: string): string {
    const count = (this.#lineages.get(text) ?? 0) + 1;
    this.#lineages.set(text, count);
    return `${text}|${count}`;
  }

  #platformFlag({ from }: Stage): Platform | undefined {
    if (from.platform === undefined) return undefined;
    const { source } = this.#file;
    const checks = this.#checks.forInstruction(from.comments);
    const expanded = expandFrom(this.#file, from, from.platform, this.#globals, checks);
    checkPlatformFlag(from, expanded, this.#globals, checks);
    if (expanded.text === '') {
      const hint = [...expanded.unset].map((name) => suggestion(name, this.#globals.declared)).find((text) => text !== undefined);
      throw source.invalid('PLATFORM_INVALID', from.location, `--platform=${from.platform} is empty`, hint);
    }
    return parsedPlatform(expanded.text, (message, hint) => source.invalid('PLATFORM_INVALID', from.location, message, hint));
  }

  /** A stage is for the platform of its flag, else of the stage that it stands on, else of the build. */
  async #base(
    index: number,
    stage: Stage,
    flag: Platform | undefined,
  ): Promise<{ base: StageBase; triggers: readonly string[]; platform: Platform | undefined }> {
    const { source, stages } = this.#file;
    const { from } = stage;
    const checks = this.#checks.forInstruction(from.comments);
    const name = expandFrom(this.#file, from, from.base, this.#globals, checks).text;
    if (name === '') {
      throw source.invalid(
        'FROM_INVALID',
        from.location,
        `FROM ${from.base} names no image`,
        'Give the ARG before FROM a default, or set it with --build-arg.',
      );
    }
    const earlier = stages.slice(0, index).findLastIndex((candidate) => candidate.from.name === name.toLowerCase());
    if (earlier >= 0) {
      const state = await this.#stage(earlier);
      return { base: state.asBase(), triggers: state.triggers, platform: flag ?? state.platform };
    }
    const platform = flag ?? this.#options.platform;
    if (name === 'scratch') return { base: this.#bases.scratch(platform), triggers: [], platform };
    const found = await this.#bases.base(name, from.location, platform);
    if (found.image !== undefined) checkImagePlatform(from, name, found.image.config, this.#checks, platform);
    return { ...found, platform };
  }

  /** What --from or from= names: an earlier stage by name or number, a named context, else an image. */
  async #from(index: number, name: string, location: Location, platform: Platform | undefined): Promise<VertexId> {
    const { source, stages } = this.#file;
    const stage = /^\d+$/.test(name)
      ? Number(name)
      : (this.#lastStage(name, index) ?? stages.findIndex((candidate) => candidate.from.name === name.toLowerCase()));
    if (stage === index) {
      throw source.invalid(
        'STAGE_CYCLE',
        location,
        `stage ${name} cannot take files from itself`,
        'Take them from an earlier stage, or from the context without --from.',
      );
    }
    if (stage > index) {
      const known = stage < stages.length;
      throw source.invalid(
        known ? 'STAGE_CYCLE' : 'STAGE_NOT_FOUND',
        location,
        known ? `stage ${name} stands after this one; files come from earlier stages only` : `there is no stage ${name}`,
        known ? `Move stage ${name} before this one.` : undefined,
      );
    }
    if (stage >= 0) return (await this.#stage(stage)).vertex;
    return this.#bases.files(name, location, platform);
  }

  #lastStage(name: string, before: number): number | undefined {
    const index = this.#file.stages.slice(0, before).findLastIndex((stage) => stage.from.name === name.toLowerCase());
    return index < 0 ? undefined : index;
  }

  /** Those that the target does not need are not wrong, though they do nothing. */
  #stageNames(): string[] {
    return this.#file.stages.flatMap(({ from }, index) => [from.name ?? `stage-${index}`, String(index)]);
  }

  #warnUnusedArgs(): void {
    const unused = Object.keys(this.#options.buildArgs).filter((name) => !this.#usedArgs.has(name) && !predefinedArgument.test(name));
    if (unused.length > 0) this.#checks.warn(`no ARG takes the build argument${unused.length > 1 ? 's' : ''} ${unused.join(', ')}`);
  }
}

/** The build argument wins over the directive. */
function checksOf({ source, directives }: Dockerfile, options: Pick<LowerOptions, 'buildArgs' | 'onWarning'>): Checks {
  const found = options.onWarning === undefined ? {} : { onWarning: options.onWarning };
  const argument = options.buildArgs.BUILDKIT_DOCKERFILE_CHECK;
  if (argument !== undefined) {
    const fail = (message: string, hint?: string) =>
      new EngineError('InvalidArgument', 'CHECK_INVALID', `BUILDKIT_DOCKERFILE_CHECK: ${message}`, { hint });
    return new Checks(parseCheckOptions(argument, fail), found);
  }
  const { value = '', location = { line: 1, column: 1, endLine: 1 } } = directives.check ?? {};
  const words = value.split(' ', 1)[0] ?? '';
  const fail = (message: string, hint?: string) => source.invalid('CHECK_INVALID', location, `check=${words}: ${message}`, hint);
  return new Checks(parseCheckOptions(words, fail), found);
}

/** Undefined for this host's own. */
function foreign(platform: Platform | undefined): string | undefined {
  if (platform === undefined) return undefined;
  const name = formatPlatform(platform);
  return name === formatPlatform(hostPlatform()) ? undefined : name;
}

function parsedPlatform(text: string, fail: (message: string, hint?: string) => EngineError): ReturnType<typeof parsePlatform> {
  try {
    return parsePlatform(text);
  } catch (error) {
    if (error instanceof EngineError) throw fail(error.message, error.hint);
    throw error;
  }
}

function relocated(step: Instruction, location: Location): Instruction {
  if (step.kind === 'COPY' || step.kind === 'ADD') {
    return { ...step, location, fromLocation: location, sources: step.sources.map((word) => ({ ...word, location })) };
  }
  if (step.kind === 'RUN') return { ...step, location, mounts: step.mounts.map((mount) => ({ ...mount, location })) };
  return { ...step, location };
}
