import { EngineError } from '../base/errors.ts';
import { type Hex, sha256 } from '../oci/digest.ts';
import type { TreeId, TreeRef } from '../store/model.ts';
import type { ImageRecord, JobOptions, Store } from '../store/port.ts';
import type { LayerMaker } from '../transport/layers/port.ts';
import type { Lowered } from './dockerfile/lower.ts';
import type { Solution } from './solver/solver.ts';
import type { ClampTimesParams } from './steps/clamp.ts';

export type ImageStepsParts = {
  readonly store: Pick<Store, 'actions' | 'images' | 'jobs'>;
  /** Knows the steps of base images. */
  readonly layers: Pick<LayerMaker, 'stepsOf'> | undefined;
};

/**
 * The root tree after each history entry that stands for a layer (ImageRecord.steps): of the base image as far as it is known, then those that the build's steps left in the action cache.
 * Undefined where any of them is not known. Costs a few look-ups; a job only when a base's layers are looked at for the first time, or times are set that were not set before.
 */
export async function stepsOfBuild(
  parts: ImageStepsParts,
  lowered: Lowered,
  solution: Solution,
  options: JobOptions & { clampSeconds: number | undefined },
): Promise<TreeId[] | undefined> {
  const filled = lowered.history.filter(({ entry }) => entry.empty_layer !== true);
  const ofBase = filled.findIndex(({ vertex }) => vertex !== undefined);
  const baseCount = ofBase < 0 ? filled.length : ofBase;
  const own = await Promise.all(filled.slice(baseCount).map(({ vertex }) => resultOf(parts, solution, vertex)));
  const base = baseCount === 0 ? [] : await stepsOfBase(parts, lowered, options);
  if (base?.length !== baseCount) return undefined;
  const steps: TreeId[] = [];
  for (const tree of [...base, ...own]) {
    if (tree === undefined) return undefined;
    steps.push(await withTimes(parts, tree, options));
  }
  return steps.at(-1) === solution.output.tree.id ? steps : undefined;
}

async function resultOf({ store }: ImageStepsParts, { recipes }: Solution, vertex: string | undefined): Promise<TreeId | undefined> {
  const recipe = vertex === undefined ? undefined : recipes.get(vertex);
  return recipe === undefined ? undefined : (await store.actions.get(recipe))?.tree.id;
}

/** The image that the target's first inputs lead to. A step's first input is what it changes. */
async function stepsOfBase(
  parts: ImageStepsParts,
  { graph, target }: Lowered,
  options: JobOptions,
): Promise<readonly TreeId[] | undefined> {
  const vertices = new Map(graph.vertices.map((vertex) => [vertex.id, vertex]));
  let vertex = vertices.get(target);
  while (vertex !== undefined && vertex.inputs.length > 0) vertex = vertices.get(vertex.inputs[0] as string);
  if (vertex?.operation.kind !== 'image') return undefined;
  const { reference, tree } = vertex.operation;
  try {
    const image: ImageRecord = await parts.store.images.resolve(reference);
    // Another build may have moved the tag since.
    return image.tree === tree.id ? (image.steps ?? (await parts.layers?.stepsOf(image, options))) : undefined;
  } catch (error) {
    if (error instanceof EngineError && error.kind === 'NotFound') return undefined;
    throw error;
  }
}

/** Where the build sets times, a step's tree has them too; the same as the last step's, which is the image's. */
async function withTimes(
  { store }: ImageStepsParts,
  tree: TreeId,
  { clampSeconds, ...options }: JobOptions & { clampSeconds: number | undefined },
): Promise<TreeId> {
  if (clampSeconds === undefined) return tree;
  const key: Hex = sha256(JSON.stringify(['slipway clamped step 1', tree, clampSeconds]));
  const known = await store.actions.get(key);
  if (known !== undefined) return known.tree.id;
  const params: ClampTimesParams = { tree, epochSeconds: clampSeconds };
  const made = await store.jobs.run<TreeRef>('build.clampTimes', params, options);
  await store.actions.put(key, { tree: made });
  return made.id;
}
