import { EngineError } from '../../base/errors.ts';
import { maxConfigBytes, parseImageConfig, withoutLayers } from '../../oci/config.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { ApplyParams } from '../apply/job.ts';
import type { LoadedImage } from '../port.ts';
import type { UntarParams, UntarResult } from '../untar/job.ts';
import type { UnlayerParams, UnlayerResult } from '../untar/layer-job.ts';
import { type BundledImage, bundleName, decodeBundle } from './bundle.ts';
import { type ArchiveContents, blobPath } from './contents.ts';

type Options = { lease: Lease; signal: AbortSignal | undefined; onProgress?: ((message: string) => void) | undefined };

/**
 * Reads what `save --since` wrote, over the images that it builds on. Everything is checked before anything is named. NotFound `BUNDLE_BASE_MISSING` names what is not here; DataLoss
 * `BUNDLE_DAMAGED` when the result is not the image that was saved.
 */
export async function loadBundle(store: Store, contents: ArchiveContents, options: Options): Promise<LoadedImage[]> {
  const images = decodeBundle(await contents.read(bundleName, 4 * 1024 * 1024), contents.what);
  if (images.length === 0) throw contents.invalid('there is no image in it');
  for (const image of images) await requireBase(store, contents, image, options.lease);
  const trees: TreeRef[] = [];
  for (const image of images) {
    options.onProgress?.(`Reading ${nameOf(image)}`);
    trees.push(await unpack(store, contents, image, options));
  }
  options.signal?.throwIfAborted();
  const loaded: LoadedImage[] = [];
  for (const [at, image] of images.entries()) {
    const tree = trees[at];
    if (tree !== undefined) loaded.push(await name(store, contents, image, tree));
  }
  return loaded;
}

async function requireBase(store: Store, contents: ArchiveContents, image: BundledImage, lease: Lease): Promise<void> {
  const { id, tree, names } = image.base;
  try {
    await lease.add('tree', tree);
    await store.trees.get(tree);
  } catch (cause) {
    if (!(cause instanceof EngineError) || cause.kind !== 'NotFound') throw cause;
    const called = names.length === 0 ? '' : `${names.map((each) => familiar(parseReference(each))).join(', ')}, `;
    throw new EngineError(
      'NotFound',
      'BUNDLE_BASE_MISSING',
      `${nameOf(image)} in ${contents.what} is what it has beyond another image, which is not here: ${called}${id}`,
      { hint: 'Load or pull that one first, or save this one without --since.', cause },
    );
  }
}

async function unpack(store: Store, contents: ArchiveContents, image: BundledImage, { lease, signal }: Options): Promise<TreeRef> {
  const { layer, base } = image;
  const range = contents.range(blobPath(layer.digest));
  const what = `the changes of ${nameOf(image)}`;
  const params: UnlayerParams = { ...range, what, digest: layer.digest, diffId: layer.diffId };
  const read = await store.jobs.run<UnlayerResult>('transport.unlayer', params, { signal, lease });
  const tree = read.kind === 'layer' ? await apply(store, image, read, { lease, signal }) : await untarOver();
  if (tree.id === image.tree) return tree;
  throw new EngineError('DataLoss', 'BUNDLE_DAMAGED', `${nameOf(image)} in ${contents.what} does not give the image that was saved`, {
    hint: 'Save and copy it again.',
  });

  function untarOver(): Promise<TreeRef> {
    const over: UntarParams = { kind: 'layer', sources: [{ ...range, what }], base: base.tree };
    return store.jobs.run<UntarResult>('transport.untar', over, { signal, lease });
  }
}

function apply(
  store: Store,
  { base }: BundledImage,
  { id, implied }: UnlayerResult & { kind: 'layer' },
  options: Pick<Options, 'lease' | 'signal'>,
): Promise<TreeRef> {
  const params: ApplyParams = { base: base.tree, layers: [{ tree: id, implied }] };
  return store.jobs.run<TreeRef>('transport.apply', params, options);
}

async function name(store: Store, contents: ArchiveContents, image: BundledImage, { id, content }: TreeRef): Promise<LoadedImage> {
  const bytes = await contents.readBlob(image.config.digest, maxConfigBytes);
  const config = parseImageConfig(bytes, `the config of ${nameOf(image)}`);
  const record = await store.images.create({ config: withoutLayers(config), tree: { id, content }, history: config.history ?? [] });
  for (const reference of image.references) await store.images.tag(reference, record.id);
  return { image: record, references: image.references.map((reference) => familiar(parseReference(reference))) };
}

function nameOf({ references: [first], tree }: BundledImage): string {
  return first === undefined ? `image ${tree.slice(0, 12)}` : familiar(parseReference(first));
}
