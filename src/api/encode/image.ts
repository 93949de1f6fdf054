import type { ContainerConfig } from '../../api-types/container.ts';
import type { ImageHistoryItem, ImageInspect, ImageSummary } from '../../api-types/image.ts';
import type { Digest } from '../../oci/digest.ts';
import { familiar, familiarName, parseReference } from '../../oci/reference.ts';
import type { ImageListing, ImageRecord } from '../../store/port.ts';
import { isoTime, zeroTime } from './time.ts';

/** References as Docker shows them: tags, and digests of what came from elsewhere. */
export function referenceNames(references: readonly string[], record: ImageRecord): { tags: string[]; digests: string[] } {
  const parsed = references.map(parseReference);
  const tags = parsed.filter(({ tag }) => tag !== undefined).map((reference) => familiar({ ...reference, digest: undefined }));
  const manifest = record.origin?.manifestDigest;
  const names = new Set(parsed.map(familiarName));
  const digests = manifest === undefined ? [] : [...names].map((name) => `${name}@${manifest}`);
  return { tags: tags.toSorted(), digests };
}

export function summarizeImage({ record, references }: ImageListing, containers = -1): ImageSummary {
  const { tags, digests } = referenceNames(references, record);
  return {
    Id: record.id,
    ParentId: '',
    RepoTags: tags,
    RepoDigests: digests,
    Created: Math.floor(record.createdAtMs / 1000),
    Size: record.sizeBytes,
    SharedSize: -1,
    Labels: record.config.config?.Labels ?? null,
    Containers: containers,
  };
}

export function inspectImage(
  record: ImageRecord,
  references: readonly string[],
  extra: { snapshotter: string; lastUsedAtMs: number | undefined },
): ImageInspect {
  const { config } = record;
  const { tags, digests } = referenceNames(references, record);
  return {
    Id: record.id,
    RepoTags: tags,
    RepoDigests: digests,
    Parent: '',
    Comment: record.history.at(-1)?.comment ?? '',
    Created: config.created ?? isoTime(record.createdAtMs),
    DockerVersion: '',
    Author: config.author ?? '',
    Config: imageRunConfig(record),
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    ...(config['os.version'] === undefined ? {} : { OsVersion: config['os.version'] }),
    Size: record.sizeBytes,
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

/** The image's defaults with the fields that Docker's clients expect to be there. */
function imageRunConfig(record: ImageRecord): ContainerConfig {
  const run = record.config.config ?? {};
  return {
    Hostname: '',
    Domainname: '',
    User: run.User ?? '',
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: run.Env ?? [],
    Cmd: run.Cmd ?? null,
    Image: '',
    Volumes: run.Volumes ?? null,
    WorkingDir: run.WorkingDir ?? '',
    Entrypoint: run.Entrypoint ?? null,
    Labels: run.Labels ?? null,
    ...(run.ExposedPorts === undefined ? {} : { ExposedPorts: run.ExposedPorts }),
    ...(run.Healthcheck === undefined ? {} : { Healthcheck: run.Healthcheck }),
    ...(run.StopSignal === undefined ? {} : { StopSignal: run.StopSignal }),
    ...(run.Shell === undefined ? {} : { Shell: run.Shell }),
    ...(run.OnBuild === undefined ? {} : { OnBuild: run.OnBuild }),
  };
}
