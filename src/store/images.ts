import { EngineError } from '../base/errors.ts';
import { type Digest, digestOf, isDigest, isHex, sha256 } from '../oci/digest.ts';
import type { ImageConfig, Platform } from '../oci/image.ts';
import { platformFits, platformOf } from '../oci/platform.ts';
import { canonical, parseReference, withDefaultTag } from '../oci/reference.ts';
import type { DatabaseClient } from './database/client.ts';
import type { TreeId } from './model.ts';
import type { ImageListing, ImageOrigin, ImageParts, ImageRecord, Images, Trees, Uses } from './port.ts';

/** Image records and tags, in the metadata database. */
export class StoredImages implements Images {
  readonly #database: DatabaseClient;
  readonly #trees: Trees;
  readonly #uses: Uses & { flush(): Promise<void> };

  constructor(database: DatabaseClient, trees: Trees, uses: Uses & { flush(): Promise<void> }) {
    this.#database = database;
    this.#trees = trees;
    this.#uses = uses;
  }

  async create(image: ImageParts): Promise<ImageRecord> {
    return this.#database.call('addImage', await this.describe(image));
  }

  async describe(image: ImageParts): Promise<ImageRecord> {
    const { rootfs: _rootfs, history: _history, ...config } = image.config;
    const { bytes } = await this.#trees.stat(image.tree.id);
    return {
      id: imageId(
        config,
        image.tree.id,
        image.platforms?.map(({ id }) => id),
      ),
      config,
      tree: image.tree.id,
      treeContent: image.tree.content,
      history: image.history ?? [],
      sizeBytes: bytes,
      createdAtMs: createdAtMs(config),
      origin: image.origin,
      ...(image.steps === undefined ? {} : { steps: image.steps }),
      ...(image.platforms === undefined ? {} : { platforms: image.platforms }),
    };
  }

  async forPlatform(image: ImageRecord, wanted: Platform): Promise<ImageRecord | undefined> {
    if (platformFits(platformOf(image.config), wanted)) return image;
    const inside = image.platforms?.find(({ config }) => platformFits(platformOf(config), wanted));
    if (inside !== undefined) return this.#database.call('addImage', { ...inside });
    const index = image.origin?.index?.digest;
    if (index === undefined) return undefined;
    const records = (await this.#database.call('listImages')).map(({ record }) => record);
    return records.find(
      ({ config, origin, platforms }) =>
        platforms === undefined && origin?.index?.digest === index && platformFits(platformOf(config), wanted),
    );
  }

  async setOrigin(id: Digest, origin: ImageOrigin): Promise<void> {
    if (!(await this.#database.call('setImageOrigin', id, origin))) throw imageNotFound(id);
  }

  async resolve(name: string): Promise<ImageRecord> {
    const byId = isDigest(name) ? name : isHex(name) ? digestOf(name) : undefined;
    if (byId !== undefined) {
      const record = await this.#database.call('imageById', byId);
      if (record === undefined) throw imageNotFound(name);
      return record;
    }
    const prefix = /^(?:sha256:)?([0-9a-f]{1,63})$/.exec(name)?.[1];
    const byReference = name.startsWith('sha256:') ? undefined : await this.#byReference(name, prefix !== undefined);
    if (byReference !== undefined) return byReference;
    const found = prefix === undefined ? [] : await this.#database.call('imagesByPrefix', prefix);
    if (found[0] === undefined) throw imageNotFound(name);
    if (found.length > 1) {
      throw new EngineError('InvalidArgument', 'IMAGE_AMBIGUOUS', `several images have an id that starts with ${name}`, {
        hint: 'Give more of its digits; "slipway images --no-trunc" shows them all.',
      });
    }
    return found[0];
  }

  async references(id: Digest): Promise<string[]> {
    return this.#database.call('imageReferences', id);
  }

  async tag(reference: string, id: Digest): Promise<void> {
    if (!(await this.#database.call('tagImage', storedForm(reference), id))) throw imageNotFound(id);
  }

  async untag(reference: string): Promise<boolean> {
    return this.#database.call('untagImage', storedForm(reference));
  }

  async list(): Promise<ImageListing[]> {
    await this.#uses.flush();
    const rows = await this.#database.call('listImages');
    return rows.map((row) => ({ ...row, lastUsedAtMs: row.lastUsedAtMs ?? row.record.createdAtMs }));
  }

  async remove(id: Digest, options: { force?: boolean } = {}): Promise<void> {
    const inTheWay = await this.#database.call('removeImage', id, options.force ?? false);
    if (inTheWay === undefined) throw imageNotFound(id);
    if (inTheWay.length > 0) {
      throw new EngineError('Conflict', 'IMAGE_TAGGED', `image ${id.slice(7, 19)} is tagged ${inTheWay.join(', ')}`, {
        hint: 'Untag it first, or force the removal.',
      });
    }
  }

  /** `mayBeId`: text that is also a prefix of an id need not be a reference. */
  async #byReference(name: string, mayBeId: boolean): Promise<ImageRecord | undefined> {
    try {
      return await this.#database.call('imageByReference', storedForm(name));
    } catch (error) {
      if (mayBeId && error instanceof EngineError && error.code === 'REFERENCE_INVALID') return undefined;
      throw error;
    }
  }
}

/**
 * The digest of the record that makes an image what it is (docs/formats/store.md, "Image ids"): its config without rootfs and history,
 * keys in order and undefined ones left out, and its root tree; of one for several platforms also the ids of each. Two builds of the same thing have the same id, with no layer made.
 */
export function imageId(config: ImageConfig, tree: TreeId, platforms: readonly Digest[] = []): Digest {
  const { rootfs: _rootfs, history: _history, ...identity } = config;
  const several = platforms.length === 0 ? '' : `platforms ${platforms.join(' ')}\n`;
  return digestOf(sha256(`slipway image 1\n${tree}\n${canonicalJson(identity)}\n${several}`));
}

/** JSON with sorted keys and no white space; undefined members are left out. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item === undefined ? null : item)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}

/** Tags are kept in full, with `:latest` when neither tag nor digest is given; a digest wins over a tag beside it. */
function storedForm(reference: string): string {
  const parsed = withDefaultTag(parseReference(reference));
  if (parsed.digest === undefined || parsed.tag === undefined) return canonical(parsed);
  const { tag: _tag, ...byDigest } = parsed;
  return canonical(byDigest);
}

function createdAtMs(config: ImageConfig): number {
  const parsed = config.created === undefined ? Number.NaN : Date.parse(config.created);
  return Number.isNaN(parsed) ? Date.now() : parsed;
}

function imageNotFound(name: string): EngineError {
  return new EngineError('NotFound', 'IMAGE_NOT_FOUND', `No such image: ${name}`, {
    hint: '"slipway images" lists what is here; "slipway load", "slipway import" or "slipway build" makes more.',
  });
}
