import type { ContainerConfig } from '../api-types/container.ts';
import { EngineError } from '../base/errors.ts';
import { applyChanges } from '../oci/changes.ts';
import type { HistoryEntry, ImageConfig, RunConfig } from '../oci/image.ts';
import { canonical, familiar, parseReference, withDefaultTag } from '../oci/reference.ts';
import type { ContainerRecord } from '../runtime/port.ts';
import type { TreeRef } from '../store/model.ts';
import type { ImageRecord } from '../store/port.ts';
import { invalid } from './errors.ts';
import { tellImage } from './image-events.ts';
import type { Query } from './query.ts';
import type { Services } from './services.ts';

/**
 * POST /commit: a container's files and configuration as an image, the container paused meanwhile unless `pause=0`. The body's configuration goes
 * before the container's, field by field, as an image's defaults do at a start; `changes` are applied to the body's, or without one to the container's.
 */
export async function commitContainer(
  services: Services,
  record: ContainerRecord,
  query: Query,
  body: ContainerConfig,
  signal: AbortSignal,
): Promise<ImageRecord> {
  refuseGone(record);
  const reference = referenceOf(query);
  const own = runConfig(record.config);
  const given = runConfig(body);
  const changed = applyChanges(Object.keys(given).length > 0 ? given : own, query.list('changes'));
  const tree = await captureStill(services, record, query.boolean('pause', true), signal);
  const base = await services.store.images.resolve(record.image.id).catch(() => undefined);
  const image = await services.store.images.create({
    config: imageConfig(mergeOver(changed, own), base, query.string('author')),
    tree,
    history: [...(base?.history ?? []), historyEntry(record, query)],
  });
  tellImage(services.events, 'create', image, image.id);
  if (reference !== undefined) {
    await services.store.images.tag(canonical(reference), image.id);
    tellImage(services.events, 'tag', image, familiar(reference));
  }
  const attributes = {
    comment: query.string('comment') ?? '',
    imageID: image.id,
    imageRef: reference === undefined ? '' : familiar(reference),
  };
  const { id, name, image: from } = record;
  services.events.publish({
    type: 'container',
    action: 'commit',
    id,
    attributes: { ...attributes, image: from.reference || from.id, name },
  });
  return image;
}

function refuseGone({ id, state }: ContainerRecord): void {
  const why = state.status === 'dead' ? 'is Dead' : state.status === 'removing' ? 'is being removed' : undefined;
  if (why !== undefined) throw new EngineError('Conflict', 'CONTAINER_GONE', `You cannot commit container ${id} which ${why}`);
}

/** `upper` where it says something; lists of names and values are joined (moby daemon/commit.go, merge). */
function mergeOver(upper: RunConfig, lower: RunConfig): RunConfig {
  const merged: RunConfig = { ...lower, ...upper };
  merged.Env = [...(upper.Env ?? []), ...(lower.Env ?? []).filter((variable) => !sets(upper.Env ?? [], nameOf(variable)))];
  if (lower.Labels ?? upper.Labels) merged.Labels = { ...lower.Labels, ...upper.Labels };
  if (lower.ExposedPorts ?? upper.ExposedPorts) merged.ExposedPorts = { ...lower.ExposedPorts, ...upper.ExposedPorts };
  if (lower.Volumes ?? upper.Volumes) merged.Volumes = { ...lower.Volumes, ...upper.Volumes };
  // An entry point of one's own makes the other's arguments meaningless.
  if ((upper.Entrypoint ?? []).length > 0) merged.Cmd = upper.Cmd ?? null;
  if (upper.Healthcheck && lower.Healthcheck) merged.Healthcheck = { ...lower.Healthcheck, ...upper.Healthcheck };
  return merged;
}

function sets(env: readonly string[], name: string): boolean {
  return env.some((variable) => nameOf(variable) === name);
}

function nameOf(variable: string): string {
  return variable.split('=', 1)[0] ?? variable;
}

function referenceOf(query: Query) {
  const repository = query.string('repo');
  const tag = query.string('tag');
  if (repository === undefined) return undefined;
  const reference = withDefaultTag(parseReference(repository + (tag === undefined ? '' : `:${tag}`)));
  if (reference.digest !== undefined) throw invalid('REFERENCE_INVALID', 'cannot import digest reference');
  return reference;
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

function historyEntry(record: ContainerRecord, query: Query): HistoryEntry {
  const author = query.string('author');
  const comment = query.string('comment');
  return {
    created: new Date().toISOString(),
    created_by: record.args.join(' '),
    ...(author === undefined ? {} : { author }),
    ...(comment === undefined ? {} : { comment }),
  };
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
    OnBuild: config.OnBuild,
    ArgsEscaped: config.ArgsEscaped,
  };
  const isSet = ([, value]: [string, unknown]) =>
    value !== undefined && value !== null && value !== '' && !(typeof value === 'object' && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(kept).filter(isSet)) as RunConfig;
}
