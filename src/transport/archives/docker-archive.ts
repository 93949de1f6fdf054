import { diffIdsOf, maxConfigBytes, parseImageConfig } from '../../oci/config.ts';
import { digestOf, isHex, sha256 } from '../../oci/digest.ts';
import { JsonDocument } from '../../oci/document.ts';
import { maxManifestBytes } from '../../oci/manifest.ts';
import { canonical, parseReference, withDefaultTag } from '../../oci/reference.ts';
import { damaged } from '../untar/job.ts';
import type { ArchiveContents } from './contents.ts';
import type { PlannedImage } from './plan.ts';

const maxImages = 10_000;

/** Reads `manifest.json` of a `docker save` archive (moby image/spec v1.2): the layout of layer folders, skopeo's flat one, and Docker 25's blobs. */
export async function planDockerArchive(contents: ArchiveContents): Promise<PlannedImage[]> {
  const document = new JsonDocument(
    Buffer.concat([Buffer.from('{"images":'), await contents.read('manifest.json', maxManifestBytes), Buffer.from('}')]),
    `manifest.json of ${contents.what}`,
    maxManifestBytes + 100,
  );
  const items = document.array(document.root.images, 'images', maxImages, (value, place) => ({
    config: document.string(document.object(value, place).Config, `${place}.Config`, 4096),
    tags: document.optional(document.object(value, place), 'RepoTags', place, (tags, at) => document.strings(tags, at)).RepoTags ?? [],
    layers: document.optional(document.object(value, place), 'Layers', place, (layers, at) => document.strings(layers, at)).Layers ?? [],
  }));
  const plans: PlannedImage[] = [];
  for (const item of items) plans.push(await planImage(contents, item));
  return plans;
}

async function planImage(contents: ArchiveContents, item: { config: string; tags: string[]; layers: string[] }): Promise<PlannedImage> {
  const configBytes = await contents.read(item.config, maxConfigBytes);
  const hex = sha256(configBytes);
  const name = item.tags[0] ?? hex.slice(0, 12);
  // The file is named by its digest; an old archive may have another name, which then says nothing.
  const stated = /([0-9a-f]{64})(?:\.json)?$/.exec(item.config)?.[1];
  if (stated !== undefined && isHex(stated) && stated !== hex) {
    throw damaged('BLOB_DAMAGED', `the config of ${name} in ${contents.what}`, digestOf(stated), digestOf(hex));
  }
  const config = parseImageConfig(configBytes, `the config of ${name}`);
  const diffIds = diffIdsOf(config);
  if (diffIds.length !== item.layers.length) {
    throw contents.invalid(`${name} lists ${item.layers.length} layers, but its config ${diffIds.length}`);
  }
  return {
    name,
    references: item.tags.map((tag) => canonical(withDefaultTag(parseReference(tag)))),
    configBytes,
    config,
    manifest: undefined,
    layers: diffIds.map((diffId, index) => ({
      ...contents.range(item.layers[index] ?? ''),
      what: `layer ${index + 1} of ${name}`,
      diffId,
      mediaType: undefined,
    })),
  };
}
