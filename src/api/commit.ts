import type { ContainerConfig } from '../api-types/container.ts';
import { applyChanges } from '../oci/changes.ts';
import type { ImageConfig, RunConfig } from '../oci/image.ts';
import { canonical, familiar, parseReference, withDefaultTag } from '../oci/reference.ts';
import type { ContainerRecord } from '../runtime/port.ts';
import type { TreeRef } from '../store/model.ts';
import type { ImageRecord } from '../store/port.ts';
import { tellImage } from './image-events.ts';
import type { Query } from './query.ts';
import type { Services } from './services.ts';

/** POST /commit: a container's files and configuration as an image, the container paused meanwhile unless `pause=0`. */
export async function commitContainer(
  services: Services,
  record: ContainerRecord,
  query: Query,
  body: ContainerConfig,
  signal: AbortSignal,
): Promise<ImageRecord> {
  const reference = referenceOf(query);
  const config = applyChanges({ ...runConfig(record.config), ...runConfig(body) }, query.list('changes'));
  const tree = await captureStill(services, record, query.boolean('pause', true), signal);
  const base = await services.store.images.resolve(record.image.id).catch(() => undefined);
  const image = await services.store.images.create({
    config: imageConfig(config, base, query.string('author')),
    tree,
    history: [...(base?.history ?? []), historyEntry(record, query.string('comment'))],
  });
  if (reference !== undefined) {
    await services.store.images.tag(canonical(reference), image.id);
    tellImage(services.events, 'tag', image, familiar(reference));
  }
  return image;
}

function referenceOf(query: Query) {
  const repository = query.string('repo');
  const tag = query.string('tag');
  return repository === undefined ? undefined : withDefaultTag(parseReference(repository + (tag === undefined ? '' : `:${tag}`)));
}

async function captureStill(services: Services, record: ContainerRecord, pause: boolean, signal: AbortSignal): Promise<TreeRef> {
  const still = pause && record.state.status === 'running' && !record.state.paused;
  if (still) await services.containers.pause(record.id);
  try {
    return await services.snapshotter.capture(record.id, { stubs: record.stubs ?? [], signal });
  } finally {
    if (still) await services.containers.unpause(record.id);
  }
}

function imageConfig(config: RunConfig, base: ImageRecord | undefined, author: string | undefined): ImageConfig {
  return {
    created: new Date().toISOString(),
    architecture: base?.config.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch),
    os: 'linux',
    config,
    ...(author === undefined ? {} : { author }),
  };
}

function historyEntry(record: ContainerRecord, comment: string | undefined) {
  const created_by = record.args.join(' ');
  return { created: new Date().toISOString(), created_by, ...(comment === undefined ? {} : { comment }) };
}

/** The part of a container's configuration that an image keeps. Only what is set, so that one can be laid over another. */
function runConfig(config: ContainerConfig): RunConfig {
  const list = (value: string | string[] | null | undefined) => (typeof value === 'string' ? [value] : (value ?? undefined));
  const kept: Record<keyof RunConfig & keyof ContainerConfig, unknown> = {
    User: config.User,
    ExposedPorts: config.ExposedPorts,
    Env: config.Env,
    Entrypoint: list(config.Entrypoint),
    Cmd: list(config.Cmd),
    Volumes: config.Volumes,
    WorkingDir: config.WorkingDir,
    Labels: config.Labels,
    StopSignal: config.StopSignal,
    Shell: config.Shell,
    Healthcheck: config.Healthcheck,
  };
  const isSet = ([, value]: [string, unknown]) => value !== undefined && value !== null && value !== '';
  return Object.fromEntries(Object.entries(kept).filter(isSet)) as RunConfig;
}
