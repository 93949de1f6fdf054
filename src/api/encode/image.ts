import type { ContainerConfig } from '../../api-types/container.ts';
import type { ImageHistoryItem, ImageInspect, ImageSummary } from '../../api-types/image.ts';
import type { Digest } from '../../oci/digest.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import type { ImageListing, ImageRecord } from '../../store/port.ts';
import { emptyConfig } from './empty-config.ts';
import { isoTime, zeroTime } from './time.ts';

/** References as Docker shows them: tags, and the digests under which repositories have the image, where it was pulled or pushed. */
export function referenceNames(references: readonly string[]): { tags: string[]; digests: string[] } {
  const parsed = references.map(parseReference);
  const shown = (byDigest: boolean) =>
    parsed.filter(({ digest }) => (digest !== undefined) === byDigest).map((reference) => familiar(reference));
  return { tags: shown(false).toSorted(), digests: shown(true).toSorted() };
}

type Speaks = (version: string) => boolean;

/** A row of GET /images/json and of system/df, in the shape of the client's version. */
export function summarizeImage(
  { record, references }: ImageListing,
  options: { speaks: Speaks; containers?: number | undefined; sharedBytes?: number | undefined },
): ImageSummary {
  const { tags, digests } = referenceNames(references);
  const nameless = tags.length === 0 && digests.length === 0 && !options.speaks('1.43');
  return {
    Containers: options.containers ?? -1,
    Created: Math.floor(record.createdAtMs / 1000),
    Id: record.id,
    Labels: record.config.config?.Labels ?? null,
    ParentId: '',
    RepoDigests: nameless ? ['<none>@<none>'] : digests,
    RepoTags: nameless ? ['<none>:<none>'] : tags,
    SharedSize: options.sharedBytes ?? -1,
    Size: record.sizeBytes,
    ...(options.speaks('1.44') ? {} : { VirtualSize: record.sizeBytes }),
  };
}

export function inspectImage(
  record: ImageRecord,
  references: readonly string[],
  extra: { snapshotter: string; lastUsedAtMs: number | undefined; speaks: Speaks },
): ImageInspect {
  const { config } = record;
  const { tags, digests } = referenceNames(references);
  const runConfig = imageRunConfig(record, extra.speaks);
  return {
    Id: record.id,
    RepoTags: tags,
    RepoDigests: digests,
    Parent: '',
    Comment: record.history.at(-1)?.comment ?? '',
    Created: config.created ?? isoTime(record.createdAtMs),
    // What the image was made with: nothing is kept of it. Gone since 1.45, but docker-compose 1.29 speaks the newest version and reads the volumes in it.
    ...(extra.speaks('1.45') ? {} : { Container: '' }),
    ContainerConfig: { ...emptyConfig, Volumes: runConfig.Volumes ?? null },
    DockerVersion: '',
    Author: config.author ?? '',
    Config: runConfig,
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    ...(config['os.version'] === undefined ? {} : { OsVersion: config['os.version'] }),
    Size: record.sizeBytes,
    ...(extra.speaks('1.44') ? {} : { VirtualSize: record.sizeBytes }),
    GraphDriver: { Name: extra.snapshotter, Data: { Tree: record.tree } },
    // Layers are projections made at push and save; only an image that came with layers has some of its own.
    RootFS: { Type: 'layers', Layers: record.origin?.layers.map(({ diffId }): Digest => diffId) ?? [] },
    Metadata: { LastTagTime: zeroTime },
    Slipway: {
      Tree: record.tree,
      Content: record.treeContent,
      ...(extra.lastUsedAtMs === undefined ? {} : { LastUsed: isoTime(extra.lastUsedAtMs) }),
    },
  };
}

/** Newest first, as `docker history` prints it. Sizes are those of layers, which only an origin has; the sum goes to the last step otherwise. */
export function imageHistory(record: ImageRecord, tags: readonly string[]): ImageHistoryItem[] {
  const layers = [...(record.origin?.layers ?? [])];
  const items = record.history.map(
    (entry): ImageHistoryItem => ({
      Id: '<missing>',
      Created: Math.floor((Date.parse(entry.created ?? '') || 0) / 1000),
      CreatedBy: entry.created_by ?? '',
      Tags: null,
      Size: entry.empty_layer === true ? 0 : (layers.shift()?.sizeBytes ?? 0),
      Comment: entry.comment ?? '',
    }),
  );
  const last = items.at(-1) ?? { Id: '', Created: Math.floor(record.createdAtMs / 1000), CreatedBy: '', Tags: null, Size: 0, Comment: '' };
  const top = {
    ...last,
    Id: record.id,
    Tags: tags.length > 0 ? [...tags] : null,
    ...(record.origin === undefined ? { Size: record.sizeBytes } : {}),
  };
  return [top, ...items.slice(0, -1).toReversed()];
}

/** The image's defaults; to older clients with the fields that they expect to be there. */
function imageRunConfig(record: ImageRecord, speaks: Speaks): ContainerConfig {
  const run = record.config.config ?? {};
  if (!speaks('1.50')) return { ...emptyConfig, ...run };
  return Object.fromEntries(Object.entries(run).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}
