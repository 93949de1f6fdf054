import { EngineError } from '../../base/errors.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { ImageRecord, JobOptions, KnownLayer, Store } from '../../store/port.ts';
import type { LayerChoice } from '../port.ts';
import { adaptiveLimits, chooseOption, type Option, optionOf, plainBytes, type Weight } from './adaptive.ts';
import { explainFold, explainLayers, explainWaste } from './explain.ts';
import type { LayerGroup, LayerGroupsParams } from './groups-job.ts';
import { historyOfLayers, historyWith, isFilled } from './history.ts';
import type { LayerTreeParams, LayerTreeResult, LayerWeight, LayerWeightsParams } from './layer-tree-job.ts';
import type { LayerPlan, PlannedLayer, PlanRequest } from './port.ts';
import type { LayerStacks } from './stacks.ts';

export type PlanStore = Pick<Store, 'jobs' | 'trees'>;
type Made = Omit<LayerPlan, 'compression'>;
/** A stack to build on, and what was found of it. */
type Base = { readonly layers: readonly KnownLayer[]; readonly prefixes: readonly TreeRef[]; readonly kept: string };
type Candidate = { readonly base: Base; readonly tree: TreeRef; readonly weight: Weight; readonly options: readonly Option[] };

/** Which layers an image becomes. */
export class Planner {
  readonly #store: PlanStore;
  readonly #stacks: LayerStacks;
  readonly #options: JobOptions;

  constructor(store: PlanStore, stacks: LayerStacks, options: JobOptions) {
    this.#store = store;
    this.#stacks = stacks;
    this.#options = options;
  }

  plan({ image, choice, candidates }: PlanRequest): Promise<Made> {
    switch (choice.kind) {
      case 'single':
        return this.#single(image, 'the whole tree', 'one layer was asked for');
      case 'per-step':
        return this.#perStep(image);
      case 'groups':
        return this.#groups(image, choice.groups);
      case 'adaptive':
        return this.#adaptive(image, candidates);
    }
  }

  async #single(image: ImageRecord, name: string, reason: string): Promise<Made> {
    const layers = [newLayer(name, await this.#layerTree({ after: image.tree }))];
    return planOf(image, layers, historyOfLayers(image, [name]), explainLayers(layers, { kept: '', added: reason }));
  }

  async #perStep(image: ImageRecord): Promise<Made> {
    const steps = await this.#stacks.stepsOf(image, this.#options);
    if (steps === undefined) throw stepsUnknown(image);
    const layers: PlannedLayer[] = [];
    const owners = new Set<number>();
    const filled = image.history.flatMap((entry, index) => (isFilled(entry) ? [index] : []));
    for (const [index, after] of steps.entries()) {
      const made = await this.#layerTree({ before: steps[index - 1], after });
      // A step that changed nothing has no layer; its entry says so. The first has one, if only for the root.
      if (made.empty) continue;
      owners.add(filled[index] as number);
      layers.push(newLayer(`step ${index + 1}: ${shorten(image.history[filled[index] as number]?.created_by)}`, made));
    }
    const explanation = explainLayers(layers, { kept: '', added: 'one layer for each step that changed files was asked for' });
    return planOf(image, layers, historyWith(image, owners, []), explanation);
  }

  async #groups(image: ImageRecord, groups: Extract<LayerChoice, { kind: 'groups' }>['groups']): Promise<Made> {
    if (groups.length === 0 || groups.length >= adaptiveLimits.layers) throw groupsInvalid(`${groups.length} groups were given`);
    const names = new Set(groups.map(({ name }) => name));
    if (names.size !== groups.length) throw groupsInvalid('two groups have one name');
    const params: LayerGroupsParams = { tree: image.tree, groups: groups.map(({ patterns }) => patterns) };
    const parts = await this.#store.jobs.run<LayerGroup[]>('transport.layer-groups', params, this.#options);
    const layers = parts.map(({ group, tree, entries, bytes }) => newLayer(groups[group]?.name ?? 'the rest', { tree, entries, bytes }));
    const empty = groups.filter((_group, index) => !parts.some(({ group }) => group === index)).map(({ name }) => name);
    const explanation = explainLayers(layers, { kept: '', added: 'what its patterns match first' });
    if (empty.length > 0) explanation.push(`no layer for ${empty.join(', ')}: nothing matches`);
    return planOf(image, layers, historyOfLayers(image, layers.map(nameOf)), explanation);
  }

  async #adaptive(image: ImageRecord, candidates: PlanRequest['candidates']): Promise<Made> {
    const bases = await this.#bases(image, candidates);
    if (bases.length === 0) return this.#single(image, 'the whole tree', 'there are no layers to build on');
    let best: { candidate: Candidate; chosen: Option; refused: Option | undefined } | undefined;
    for (const base of bases) {
      const candidate = await this.#weigh(image, base);
      const choice = chooseOption(candidate.options);
      if (best === undefined || choice.chosen.addedBytes < best.chosen.addedBytes) best = { candidate, ...choice };
    }
    // There is at least one base, so there is a best.
    return this.#build(image, best as NonNullable<typeof best>);
  }

  async #bases(image: ImageRecord, candidates: PlanRequest['candidates']): Promise<Base[]> {
    const stacks = candidates.filter((stack) => stack.length > 0).map((layers) => ({ layers, kept: 'the registry has it' }));
    if (stacks.length === 0) {
      const found = await this.#stacks.ofBase(image);
      if (found !== undefined) stacks.push({ layers: found.layers, kept: 'it is a layer of the image that this one was built on' });
    }
    return Promise.all(stacks.map(async (stack) => ({ ...stack, prefixes: await this.#stacks.prefixes(stack.layers, this.#options) })));
  }

  /** What building on each prefix of a stack would add. Those that cannot add less than another that was weighed are only estimated, from what their trees lack at least. */
  async #weigh(image: ImageRecord, base: Base): Promise<Candidate> {
    const top = base.prefixes.at(-1) as TreeRef; // stacks without a layer were left out
    const tree = await this.#adopt(image.tree, top.id);
    const weight = await this.#weightOf(tree.id);
    const layers = await Promise.all(base.layers.map((layer) => this.#weightOf(layer.tree)));
    const below = await Promise.all(base.prefixes.map(({ id }) => this.#weightOf(id)));
    const count = base.layers.length;
    const options: Option[] = [optionOf(0, layers, weight, weight)];
    const add = (kept: number, added: LayerWeight) => options.push(optionOf(kept, layers, added.empty ? undefined : added, weight));
    const [whole] = await this.#weights([top.id], tree.id);
    if (whole === undefined) return { base, tree, weight, options };
    add(count, whole);
    // Only a bound that the whole stack breaks, or a prefix that lacks less than it, makes the others worth a look.
    const first = options[1] as Option;
    const least = first.refusal === undefined ? first.addedBytes : Number.POSITIVE_INFINITY;
    const lacks = (kept: number) => plainBytes(weight) - plainBytes(below[kept - 1] as Weight);
    const others = Array.from({ length: count - 1 }, (_, index) => index + 1).filter((kept) => lacks(kept) < least);
    const weighed = await this.#weights(
      others.map((kept) => (base.prefixes[kept - 1] as TreeRef).id),
      tree.id,
    );
    for (const [index, added] of weighed.entries()) add(others[index] as number, added);
    return { base, tree, weight, options };
  }

  async #build(
    image: ImageRecord,
    { candidate, chosen, refused }: { candidate: Candidate; chosen: Option; refused: Option | undefined },
  ): Promise<Made> {
    const { base, weight } = candidate;
    const layers: PlannedLayer[] = [];
    for (const layer of base.layers.slice(0, chosen.kept)) layers.push({ kind: 'kept', layer, ...(await this.#weightOf(layer.tree)) });
    const before = base.prefixes[chosen.kept - 1]?.id;
    // What is as in the layers that stay takes their times, or it would have to be in the new one.
    const tree = before === undefined ? candidate.tree : await this.#adopt(candidate.tree.id, before);
    if (chosen.layers > chosen.kept) {
      layers.push(newLayer(chosen.kept === 0 ? 'the whole tree' : 'changes', await this.#layerTree({ before, after: tree.id })));
    }
    const added = chosen.kept === 0 ? 'nothing below it is worth keeping' : `what differs from the ${chosen.kept} below`;
    const explanation = explainLayers(layers, { kept: base.kept, added });
    if (chosen.layers === chosen.kept) explanation.push('no new layer: the files are those of the layers that are there');
    if (refused !== undefined) explanation.push(explainFold(refused, chosen, base.layers.length));
    explanation.push(explainWaste(chosen, plainBytes(weight)));
    return { ...planOf(image, layers, historyOfLayers(image, layers.map(nameOf)), explanation), tree };
  }

  async #adopt(tree: TreeId, earlier: TreeId): Promise<TreeRef> {
    const adopted = await this.#store.trees.adopt(tree, earlier, this.#options);
    await this.#options.lease?.add('tree', adopted.id);
    return adopted;
  }

  #weights(befores: readonly TreeId[], after: TreeId): Promise<LayerWeight[]> {
    if (befores.length === 0) return Promise.resolve([]);
    const params: LayerWeightsParams = { befores, after };
    return this.#store.jobs.run<LayerWeight[]>('transport.layer-weights', params, this.#options);
  }

  async #weightOf(tree: TreeId): Promise<Weight> {
    const { files, directories, bytes } = await this.#store.trees.stat(tree);
    return { entries: files + directories, bytes };
  }

  #layerTree(params: LayerTreeParams): Promise<LayerTreeResult> {
    return this.#store.jobs.run<LayerTreeResult>('transport.layer-tree', params, this.#options);
  }
}

function planOf(image: ImageRecord, layers: PlannedLayer[], history: LayerPlan['history'], explanation: string[]): Made {
  return { layers, tree: { id: image.tree, content: image.treeContent }, history, explanation };
}

function newLayer(name: string, { tree, entries, bytes }: { tree: TreeRef } & Weight): PlannedLayer {
  return { kind: 'new', tree: tree.id, content: tree.content, name, entries, bytes };
}

function nameOf(layer: PlannedLayer): string {
  return layer.kind === 'new' ? layer.name : 'a layer of an earlier image';
}

function shorten(text: string | undefined): string {
  return (text ?? 'unnamed').replace(/\s+/g, ' ').slice(0, 60);
}

function stepsUnknown(image: ImageRecord): EngineError {
  return new EngineError(
    'Conflict',
    'STEPS_UNKNOWN',
    `the steps of image ${image.id.slice(0, 19)} are not known, so it cannot have a layer for each`,
    {
      hint: 'Build it again here, or choose --layers adaptive or single.',
    },
  );
}

function groupsInvalid(problem: string): EngineError {
  return new EngineError('InvalidArgument', 'LAYER_GROUPS_INVALID', `layers cannot be made by groups: ${problem}`, {
    hint: `Give between 1 and ${adaptiveLimits.layers - 1} groups, each with a name of its own.`,
  });
}
