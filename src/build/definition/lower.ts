import type { BuildDefinition, DefinitionImage, DefinitionRun, DefinitionStep } from '../../api-types/definition.ts';
import { defaultPath, emptyImageConfig, withoutLayers } from '../../oci/config.ts';
import type { ImageConfig, RunConfig } from '../../oci/image.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord } from '../../store/port.ts';
import type { Lowered } from '../dockerfile/lower.ts';
import { hasWildcard } from '../dockerfile/paths.ts';
import type { StageHistory } from '../dockerfile/stage.ts';
import type { ContextPath } from '../dockerfile/surroundings.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Operation, RunMount, VertexId } from '../graph/vertex.ts';
import { inputsOf, orderSteps } from './order.ts';

export type DefinitionOptions = {
  readonly labels: Readonly<Record<string, string>>;
  readonly noCache: boolean;
  readonly networkMode: 'default' | 'none' | 'host';
  /** Throws NotFound when there is no such image. */
  readonly resolveImage: (reference: string) => Promise<ImageRecord>;
};

/** A step that was lowered: what later ones stand on. */
type Made = { readonly vertex: VertexId; readonly config: ImageConfig; readonly history: readonly StageHistory[] };

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

  constructor(name: string, options: DefinitionOptions) {
    this.#name = name;
    this.#options = options;
  }

  async run(definition: BuildDefinition): Promise<Lowered> {
    for (const step of orderSteps(definition, this.#name)) this.#made.set(step.id, await this.#lower(step));
    if (this.#contexts.has(definition.target)) this.#contextPaths.push({ path: '/', wildcard: false });
    const target = this.#of(definition.target);
    return {
      graph: this.#graph.finish(),
      target: target.vertex,
      config: withImage(target.config, definition.image ?? {}, this.#options.labels),
      history: target.history,
      contextPaths: this.#contextPaths,
      warnings: [],
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
    const given = operation.kind === 'context' || operation.kind === 'scratch';
    const vertex = this.#graph.add({
      name: step.kind === 'context' ? 'build context' : text,
      lineage: `${this.#name}|${step.id}|${step.kind}`,
      inputs: inputsOf(step).map((id) => this.#of(id).vertex),
      operation,
      noCache: !given && this.#options.noCache,
      ...(step.kind === 'run' ? { timeoutMs: step.timeoutMs, retries: step.retries } : {}),
    });
    const entry: StageHistory = { entry: { created_by: text, comment: 'slipway.build.v1' }, vertex };
    return { vertex, config, history: given ? [] : [...(base?.history ?? []), entry] };
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
      if (isContext(step.base)) this.#contextPaths.push({ path: '/', wildcard: false });
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
        return this.#run(step, base);
      case 'merge':
        return { kind: 'merge' };
      case 'difference':
        return { kind: 'difference' };
    }
  }

  #run(step: DefinitionRun, base: RunConfig): Operation {
    const inherited = [defaultPath, ...(base.Env ?? [])].map((item) => splitOnce(item));
    const env = new Map([...inherited, ...Object.entries(step.env ?? {})]);
    let bound = 0;
    const mounts = (step.mounts ?? []).map((mount): RunMount => {
      if (mount.kind === 'bind') {
        bound++;
        return { kind: 'bind', input: bound, source: mount.path ?? '/', target: mount.target, readOnly: mount.writable !== true };
      }
      if (mount.kind === 'tmpfs') return mount;
      const { target, id = target, sharing = 'shared' } = mount;
      return { kind: 'cache', id, target, sharing, readOnly: false, mode: 0o755, uid: 0, gid: 0 };
    });
    return {
      kind: 'run',
      args: step.args,
      env: [...env].sort(([a], [b]) => (a < b ? -1 : 1)),
      unkeyedEnv: [],
      user: step.user ?? base.User ?? '',
      workingDir: step.workingDir ?? (base.WorkingDir || '/'),
      network: step.network ?? this.#options.networkMode,
      mounts,
    };
  }
}

function nameOf(step: DefinitionStep): string {
  switch (step.kind) {
    case 'run':
      return `RUN ${step.args.join(' ').slice(0, 1000)}`;
    case 'copy':
      return `COPY ${step.paths.join(' ')} ${step.to}`;
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

function splitOnce(item: string): [string, string] {
  const at = item.indexOf('=');
  return at < 0 ? [item, ''] : [item.slice(0, at), item.slice(at + 1)];
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
