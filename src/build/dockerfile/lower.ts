import { EngineError } from '../../base/errors.ts';
import { suggestion } from '../../base/nearest.ts';
import { emptyImageConfig } from '../../oci/config.ts';
import type { ImageConfig } from '../../oci/image.ts';
import { formatPlatform, hostPlatform, parsePlatform } from '../../oci/platform.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord } from '../../store/port.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, VertexId } from '../graph/vertex.ts';
import { applyInstruction } from './apply.ts';
import { Variables } from './environment.ts';
import { parseTrigger } from './parser.ts';
import type { Location, Source } from './source.ts';
import { expandAt, type StageBase, type StageHistory, StageState } from './stage.ts';
import type { ContextPath, Surroundings } from './surroundings.ts';
import type { Dockerfile, Instruction, Stage } from './syntax.ts';

export type LowerOptions = {
  readonly target?: string | undefined;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly noCache: boolean;
  readonly networkMode: 'default' | 'none' | 'host';
  /** Throws NotFound when there is no such image. */
  readonly resolveImage: (reference: string) => Promise<ImageRecord>;
};

export type Lowered = {
  readonly graph: Graph;
  readonly target: VertexId;
  /** Without rootfs, history and creation time. */
  readonly config: ImageConfig;
  readonly history: readonly StageHistory[];
  /** Empty when no step needs the context. */
  readonly contextPaths: readonly ContextPath[];
  readonly warnings: readonly { readonly message: string; readonly line?: number | undefined }[];
};

/**
 * Turns a Dockerfile into a graph, its target's image config and history. Only stages that the target needs are looked at; only their
 * images are resolved. Follows BuildKit where that and the classic builder differ. Throws EngineError with file, line and an excerpt.
 */
export async function lowerDockerfile(file: Dockerfile, options: LowerOptions): Promise<Lowered> {
  return new Lowering(file, options).run();
}

class Lowering {
  readonly #file: Dockerfile;
  readonly #options: LowerOptions;
  readonly #graph = new GraphBuilder();
  readonly #stages = new Map<number, Promise<StageState>>();
  readonly #images = new Map<string, Promise<ImageRecord>>();
  readonly #contextPaths: ContextPath[] = [];
  readonly #warnings: { message: string; line?: number | undefined }[] = [];
  readonly #usedArgs = new Set<string>();
  readonly #lineages = new Map<string, number>();
  #globals = new Variables();

  constructor(file: Dockerfile, options: LowerOptions) {
    this.#file = file;
    this.#options = options;
  }

  async run(): Promise<Lowered> {
    const targetIndex = this.#findTarget();
    this.#globals = this.#globalVariables();
    this.#warnings.push(...this.#file.warnings);
    const target = await this.#stage(targetIndex);
    this.#warnUnusedArgs();
    const labels = { ...target.run.Labels, ...this.#options.labels };
    if (Object.keys(labels).length > 0) target.run.Labels = labels;
    if (target.triggers.length > 0) target.run.OnBuild = target.triggers;
    return {
      graph: this.#graph.finish(),
      target: target.vertex,
      config: target.config,
      history: target.history,
      contextPaths: this.#contextPaths,
      warnings: this.#warnings,
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

  #globalVariables(): Variables {
    const { buildArgs, target } = this.#options;
    const host = hostPlatform();
    const variables = new Variables();
    for (const side of ['BUILD', 'TARGET']) {
      variables.set(`${side}PLATFORM`, formatPlatform(host));
      variables.set(`${side}OS`, host.os);
      variables.set(`${side}ARCH`, host.architecture);
      variables.set(`${side}VARIANT`, host.variant ?? '');
    }
    variables.set('TARGETSTAGE', target ?? this.#file.stages.at(-1)?.from.name ?? 'default');
    for (const name of [...variables.names()]) {
      const given = buildArgs[name];
      if (given !== undefined) variables.set(name, given);
    }
    for (const instruction of this.#file.globalArgs) {
      for (const { key, value } of instruction.args) {
        const given = Object.hasOwn(buildArgs, key) ? buildArgs[key] : undefined;
        if (given !== undefined) {
          this.#usedArgs.add(key);
          variables.set(key, given);
        } else if (value !== undefined) {
          variables.set(key, expandAt(this.#file.source, instruction.location, value, variables, { escape: this.#file.escape }).text);
        }
      }
    }
    return variables;
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
    const { source, stages } = this.#file;
    this.#checkPlatform(stage);
    const { base, triggers } = await this.#base(index, stage);
    const name = stage.from.name ?? (stages.length > 1 ? `stage-${index}` : '');
    const state = new StageState(name, base, (message, line) => this.#warnings.push({ message, line }));
    const fromTriggers = triggers.map((text) => parseTrigger(text, `ONBUILD of ${stage.from.base}`));
    const steps = [...fromTriggers, ...stage.instructions];
    state.totalSteps = steps.filter((step) => ['RUN', 'COPY', 'ADD', 'WORKDIR'].includes(step.kind)).length;
    // A trigger's places are in its own text, which nobody sees; errors show the FROM that brought it.
    const fromSource = { source, relocate: stage.from.location };
    for (const step of fromTriggers) await this.#apply(index, state, step, fromSource);
    for (const step of stage.instructions) await this.#apply(index, state, step, { source });
    return state;
  }

  async #apply(index: number, state: StageState, step: Instruction, at: { source: Source; relocate?: Location }): Promise<void> {
    const surroundings: Surroundings = {
      graph: this.#graph,
      source: at.source,
      escape: this.#file.escape,
      globals: this.#globals,
      buildArgs: this.#options.buildArgs,
      noCache: this.#options.noCache,
      networkMode: this.#options.networkMode,
      useArg: (name) => this.#usedArgs.add(name),
      useContext: (path) => this.#contextPaths.push(path),
      resolveFrom: (name, location) => this.#from(index, name, at.relocate ?? location),
      lineage: (text) => this.#lineage(`${at.source.name}|${state.name}|${text}`),
    };
    await applyInstruction(state, at.relocate === undefined ? step : relocated(step, at.relocate), surroundings);
  }

  /** Equal texts in one stage are told apart by their order. */
  #lineage(text: string): string {
    const count = (this.#lineages.get(text) ?? 0) + 1;
    this.#lineages.set(text, count);
    return `${text}|${count}`;
  }

  #checkPlatform(stage: Stage): void {
    const written = stage.from.platform;
    if (written === undefined) return;
    const { source, escape: escapeCharacter } = this.#file;
    const text = expandAt(source, stage.from.location, written, this.#globals, { escape: escapeCharacter }).text;
    if (text === '') throw source.invalid('PLATFORM_INVALID', stage.from.location, `--platform=${written} is empty`);
    const platform = formatPlatform(parsePlatform(text));
    const host = formatPlatform(hostPlatform());
    if (platform !== host) {
      throw source.unsupported(
        stage.from.location,
        `FROM --platform=${platform}: this host builds for ${host} only`,
        `Leave --platform out or build on a ${platform} host.`,
      );
    }
  }

  async #base(index: number, stage: Stage): Promise<{ base: StageBase; triggers: readonly string[] }> {
    const { source, stages, escape: escapeCharacter } = this.#file;
    const { location } = stage.from;
    const name = expandAt(source, location, stage.from.base, this.#globals, { escape: escapeCharacter }).text;
    if (name === '') {
      throw source.invalid(
        'FROM_INVALID',
        location,
        `FROM ${stage.from.base} names no image`,
        'Give the ARG before FROM a default, or set it with --build-arg.',
      );
    }
    const earlier = stages.slice(0, index).findLastIndex((candidate) => candidate.from.name === name.toLowerCase());
    if (earlier >= 0) {
      const state = await this.#stage(earlier);
      return { base: state.asBase(), triggers: state.triggers };
    }
    if (name === 'scratch') return { base: this.#scratch(), triggers: [] };
    const image = await this.#image(name, location);
    return {
      base: {
        vertex: this.#imageVertex(name, image, source, location),
        config: image.config,
        history: image.history.map((entry) => ({ entry })),
        variables: Variables.fromList(image.config.config?.Env ?? []),
        buildArgs: [],
      },
      triggers: image.config.config?.OnBuild ?? [],
    };
  }

  #scratch(): StageBase {
    const vertex = this.#graph.add({ name: 'scratch', lineage: 'scratch', operation: { kind: 'scratch' } });
    const config = emptyImageConfig();
    return {
      vertex,
      config: { ...config, config: { ...config.config, WorkingDir: '/' } },
      history: [],
      variables: new Variables(),
      buildArgs: [],
    };
  }

  #imageVertex(name: string, image: ImageRecord, source: Source, location: Location): VertexId {
    const tree = { id: image.tree as TreeId, content: image.treeContent };
    return this.#graph.add({
      name: `FROM ${name}`,
      lineage: `image|${name}`,
      operation: { kind: 'image', reference: name, tree },
      place: { file: source.name, line: location.line, column: location.column, text: source.lines[location.line - 1] ?? '' },
    });
  }

  /** What --from or from= names: an earlier stage by name or number, else an image. */
  async #from(index: number, name: string, location: Location): Promise<VertexId> {
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
    if (name === 'scratch') return this.#scratch().vertex;
    return this.#imageVertex(name, await this.#image(name, location), source, location);
  }

  #lastStage(name: string, before: number): number | undefined {
    const index = this.#file.stages.slice(0, before).findLastIndex((stage) => stage.from.name === name.toLowerCase());
    return index < 0 ? undefined : index;
  }

  async #image(name: string, location: Location): Promise<ImageRecord> {
    let found = this.#images.get(name);
    if (found === undefined) {
      found = this.#options.resolveImage(name);
      this.#images.set(name, found);
    }
    try {
      return await found;
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      const names = this.#file.stages.map((stage) => stage.from.name).filter((stage) => stage !== undefined);
      const hint = [suggestion(name, names, 'the stage '), error.hint].filter((part) => part !== undefined).join(' ');
      throw this.#file.source.error(error.kind, error.code, location, error.message, {
        hint: hint === '' ? undefined : hint,
        cause: error,
      });
    }
  }

  #warnUnusedArgs(): void {
    const predefined = /^((HTTPS?|FTP|NO|ALL)_PROXY|SOURCE_DATE_EPOCH|(BUILD|TARGET)(PLATFORM|OS|ARCH|VARIANT|STAGE)|BUILDKIT_.*)$/i;
    const unused = Object.keys(this.#options.buildArgs).filter((name) => !this.#usedArgs.has(name) && !predefined.test(name));
    if (unused.length > 0)
      this.#warnings.push({ message: `no ARG takes the build argument${unused.length > 1 ? 's' : ''} ${unused.join(', ')}` });
  }
}

function relocated(step: Instruction, location: Location): Instruction {
  if (step.kind === 'COPY' || step.kind === 'ADD') {
    return { ...step, location, fromLocation: location, sources: step.sources.map((word) => ({ ...word, location })) };
  }
  if (step.kind === 'RUN') return { ...step, location, mounts: step.mounts.map((mount) => ({ ...mount, location })) };
  return { ...step, location };
}
