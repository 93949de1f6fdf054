import type { BuildDefinition, DefinitionImage, DefinitionStep } from '../../api-types/definition.ts';
import { emptyImageConfig, withoutLayers } from '../../oci/config.ts';
import type { ImageConfig, RunConfig } from '../../oci/image.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord } from '../../store/port.ts';
import type { Warning } from '../dockerfile/checks.ts';
import type { Lowered } from '../dockerfile/lower.ts';
import { hasWildcard } from '../dockerfile/paths.ts';
import { withoutCredentials } from '../dockerfile/remote.ts';
import type { StageHistory } from '../dockerfile/stage.ts';
import type { ContextPath } from '../dockerfile/surroundings.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Operation, VertexId } from '../graph/vertex.ts';
import { CacheRules, type StepOptions } from '../step-options.ts';
import { inputsOf, orderSteps } from './order.ts';
import { runOperation, splitOnce } from './run-step.ts';
import { sourceOperation } from './source-step.ts';

export type DefinitionOptions = StepOptions & {
  readonly labels: Readonly<Record<string, string>>;
  readonly networkMode: 'default' | 'none' | 'host';
  /** Throws NotFound when there is no such image. */
  readonly resolveImage: (reference: string) => Promise<ImageRecord>;
};

/** A step that was lowered: what later ones stand on. */
type Made = {
  readonly vertex: VertexId;
  readonly config: ImageConfig;
  readonly history: readonly StageHistory[];
  readonly group?: string | undefined;
};

/** Turns a build definition into a graph, the target's image config and history. The config is that of the image at the end of a step's chain of bases. */
export async function lowerDefinition(definition: BuildDefinition, name: string, options: DefinitionOptions): Promise<Lowered> {
  return new Lowering(name, options).run(definition);
}

class Lowering {
  readonly #name: string;
  readonly #options: DefinitionOptions;
  readonly #graph = new GraphBuilder();
  readonly #made = new Map<string, Made>();
  readonly #contexts = new Set<string>();
  readonly #contextPaths: ContextPath[] = [];
  readonly #caching: CacheRules;
  readonly #warnings: Warning[] = [];

  constructor(name: string, options: DefinitionOptions) {
    this.#name = name;
    this.#options = options;
    this.#caching = new CacheRules(options);
  }

  async run(definition: BuildDefinition): Promise<Lowered> {
    for (const step of orderSteps(definition, this.#name)) this.#made.set(step.id, await this.#lower(step));
    if (this.#contexts.has(definition.target)) this.#contextPaths.push({ path: '/', wildcard: false });
    const target = this.#of(definition.target);
    const names = definition.steps.flatMap(namesOf);
    for (const message of this.#caching.unknown(names)) this.#warnings.push({ message });
    return {
      graph: this.#graph.finish(),
      target: target.vertex,
      config: withImage(target.config, definition.image ?? {}, this.#options.labels),
      history: target.history,
      contextPaths: this.#contextPaths,
      warnings: this.#warnings,
    };
  }

  #of(id: string): Made {
    return this.#made.get(id) as Made; // `orderSteps` puts what is needed first
  }

  async #lower(step: DefinitionStep): Promise<Made> {
    if (step.kind === 'image') return this.#image(step.reference);
    this.#noteContext(step);
    const [first] = inputsOf(step);
    const base = first === undefined ? undefined : this.#of(first);
    const config = base?.config ?? emptyImageConfig();
    const text = step.name ?? nameOf(step);
    const operation = this.#operation(step, config.config ?? {});
    const given = ['context', 'scratch', 'http', 'git'].includes(operation.kind);
    const names = namesOf(step);
    const noCache = this.#caching.noCache(names);
    const vertex = this.#graph.add({
      name: step.kind === 'context' ? 'build context' : text,
      lineage: `${this.#name}|${step.id}|${step.kind}`,
      inputs: inputsOf(step).map((id) => this.#of(id).vertex),
      operation,
      noCache: !given && noCache,
      ...(step.kind === 'run'
        ? { timeoutMs: step.timeoutMs, retries: step.retries, cacheTtlMs: this.#caching.ttlMs(names) ?? step.cacheTtlMs }
        : {}),
    });
    const history = given ? [] : [...grouped(base, step.group), { entry: { created_by: text, comment: commentOf(step.group) }, vertex }];
    return { vertex, config, history, group: step.group };
  }

  /** Which of the context's files are read. A tree that is more than copied from is wanted whole. */
  #noteContext(step: DefinitionStep): void {
    if (step.kind === 'context') this.#contexts.add(step.id);
    const isContext = (id: string) => this.#contexts.has(id);
    if (step.kind === 'copy') {
      if (isContext(step.from)) for (const path of step.paths) this.#contextPaths.push({ path, wildcard: hasWildcard(path) });
      if (isContext(step.base)) this.#contextPaths.push({ path: '/', wildcard: false });
    } else if (step.kind === 'run') {
      for (const mount of step.mounts ?? []) {
        if (mount.kind === 'bind' && isContext(mount.from)) this.#contextPaths.push({ path: mount.path ?? '/', wildcard: false });
      }
      for (const id of [step.base, ...(step.services ?? []).map(({ from }) => from)]) {
        if (isContext(id)) this.#contextPaths.push({ path: '/', wildcard: false });
      }
    } else if (inputsOf(step).some(isContext)) this.#contextPaths.push({ path: '/', wildcard: false });
  }

  async #image(reference: string): Promise<Made> {
    const image = await this.#options.resolveImage(reference);
    const vertex = this.#graph.add({
      name: `FROM ${reference}`,
      lineage: `image|${reference}`,
      operation: { kind: 'image', reference, tree: { id: image.tree as TreeId, content: image.treeContent } },
    });
    return { vertex, config: withoutLayers(image.config), history: image.history.map((entry) => ({ entry })) };
  }

  #operation(step: Exclude<DefinitionStep, { kind: 'image' }>, base: RunConfig): Operation {
    switch (step.kind) {
      case 'scratch':
        return { kind: 'scratch' };
      case 'context':
        return { kind: 'context', name: 'default' };
      case 'http':
      case 'git':
        return sourceOperation(step);
      case 'files':
        return { kind: 'inline', files: step.files.map(({ path, text, mode = 0o644 }) => ({ path, text, mode })) };
      case 'copy':
        return {
          kind: 'copy',
          sources: step.paths.map((path) => ({ input: 1, path, wildcard: hasWildcard(path), unpack: false })),
          destination: step.to,
          owner: step.owner,
          mode: step.mode,
          excludes: step.exclude ?? [],
        };
      case 'mkdir':
        return { kind: 'mkdir', path: step.path, mode: step.mode ?? 0o755, owner: step.owner };
      case 'run':
        return runOperation(step, base, (id) => this.#of(id).config.config ?? {}, this.#options);
      case 'merge':
        return { kind: 'merge' };
      case 'difference':
        return { kind: 'difference' };
    }
  }
}

function namesOf(step: DefinitionStep): string[] {
  return step.name === undefined ? [step.id] : [step.id, step.name, step.name.replace(/^RUN /, '')];
}

/** Of steps that stand on each other in one group only the last one stands for a layer: it has what all of them made. */
function grouped(base: Made | undefined, group: string | undefined): readonly StageHistory[] {
  const history = base?.history ?? [];
  const last = history.at(-1);
  if (group === undefined || base?.group !== group || last?.vertex === undefined) return history;
  return [...history.slice(0, -1), { ...last, entry: { ...last.entry, empty_layer: true } }];
}

function commentOf(group: string | undefined): string {
  return group === undefined ? 'slipway.build.v1' : `slipway.build.v1 group ${group}`;
}

function nameOf(step: DefinitionStep): string {
  switch (step.kind) {
    case 'run':
      return `RUN ${step.args.join(' ').slice(0, 1000)}`;
    case 'copy':
      return `COPY ${step.paths.join(' ')} ${step.to}`;
    case 'http':
    case 'git':
      return `${step.kind === 'http' ? 'fetch' : 'clone'} ${withoutCredentials(step.url)}`;
    case 'mkdir':
      return `MKDIR ${step.path}`;
    case 'merge':
      return `MERGE ${step.trees.join(' ')}`;
    case 'difference':
      return `DIFFERENCE ${step.lower} ${step.upper}`;
    default:
      return step.kind;
  }
}

function withImage(base: ImageConfig, image: DefinitionImage, labels: Readonly<Record<string, string>>): ImageConfig {
  const { OnBuild: _used, ...run } = base.config ?? {};
  const { Env, Labels, ExposedPorts, Volumes, Cmd, Entrypoint, User, WorkingDir, StopSignal } = image;
  const env = new Map([...(run.Env ?? []).map(splitOnce), ...Object.entries(Env ?? {})]);
  const allLabels = { ...run.Labels, ...Labels, ...labels };
  // As with a Dockerfile: a command that was made for another entrypoint is not for this one.
  const inheritedCmd = Entrypoint === undefined ? run.Cmd : undefined;
  const config: RunConfig = {
    ...run,
    ...(User === undefined ? {} : { User }),
    ...(WorkingDir === undefined ? {} : { WorkingDir }),
    ...(StopSignal === undefined ? {} : { StopSignal }),
    ...(env.size > 0 ? { Env: [...env].map((pair) => pair.join('=')) } : {}),
    ...(Object.keys(allLabels).length > 0 ? { Labels: allLabels } : {}),
    ...(Entrypoint === undefined ? {} : { Entrypoint: [...Entrypoint] }),
    ...(ExposedPorts === undefined ? {} : { ExposedPorts: keyed(ExposedPorts.map((port) => (port.includes('/') ? port : `${port}/tcp`))) }),
    ...(Volumes === undefined ? {} : { Volumes: keyed(Volumes) }),
  };
  const command = Cmd === undefined ? inheritedCmd : [...Cmd];
  if (command === undefined || command === null) delete config.Cmd;
  else config.Cmd = command;
  const { created: _created, ...others } = base;
  return { ...others, config };
}

function keyed(names: readonly string[]): Record<string, Record<string, never>> {
  return Object.fromEntries(names.map((name) => [name, {}]));
}
