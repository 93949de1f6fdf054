import { posix } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { ContainerConfig } from '../../api-types/container.ts';
import type { FilesystemChange } from '../../api-types/container-inspect.ts';
import { toBytes, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { ImageConfig, RunConfig } from '../../oci/image.ts';
import { canonical, familiar, parseReference, withDefaultTag } from '../../oci/reference.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import type { Entry, Root, TreeId, TreeRef } from '../../store/model.ts';
import type { Change, ImageRecord } from '../../store/port.ts';
import { bodyOf } from '../decode.ts';
import { encodePathStat } from '../encode/path-stat.ts';
import { unsupported } from '../errors.ts';
import { tellImage } from '../image-events.ts';
import { Query } from '../query.ts';
import { createContainer } from '../schemas/container.ts';
import type { Services } from '../services.ts';
import { requestSignal, sendChunks } from '../stream.ts';

type Named = { Params: { name: string } };

const kindNumbers: Record<Change['kind'], FilesystemChange['Kind']> = { modified: 0, added: 1, deleted: 2 };

/**
 * A container's files: changes, export, commit, archive. What is read comes from a tree captured at the request's time, so a path is resolved
 * inside the tree, where no symlink can lead out and nothing moves meanwhile.
 */
export function archiveRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  app.get<Named>('/containers/:name/changes', async (request, reply): Promise<FilesystemChange[] | null> => {
    const { id } = await containers.get(request.params.name);
    const changes = await services.snapshotter.changes(id, { signal: requestSignal(reply, services.shutdown) });
    const shown = changes.filter(({ path }) => !services.stubs.includes(path));
    return shown.length === 0 ? null : shown.map(({ path, kind }) => ({ Path: `/${toText(path)}`, Kind: kindNumbers[kind] }));
  });

  app.get<Named>('/containers/:name/export', async (request, reply) => {
    const record = await containers.get(request.params.name);
    const tree = await capture(services, record, requestSignal(reply, services.shutdown));
    await sendChunks(reply, services.shutdown, 'application/x-tar', (signal) => services.archives.exportTree(tree.id, { signal }));
  });

  app.post('/commit', async (request, reply) => {
    const query = new Query(request.query);
    const record = await containers.get(query.required('container'));
    const image = await commit(services, record, query, bodyOf(request.body, createContainer), requestSignal(reply, services.shutdown));
    return reply.code(201).send({ Id: image.id });
  });

  app.route<Named>({
    method: ['GET', 'HEAD'],
    url: '/containers/:name/archive',
    handler: async (request, reply) => {
      const path = new Query(request.query).required('path');
      const record = await containers.get(request.params.name);
      const tree = await capture(services, record, requestSignal(reply, services.shutdown));
      const { entry, root } = await locate(services, tree, path);
      reply.header('X-Docker-Container-Path-Stat', encodePathStat(path, entry, entry ?? root));
      if (request.method === 'HEAD') return reply.code(200).send();
      const part = await partOf(services, tree, path);
      await sendChunks(reply, services.shutdown, 'application/x-tar', (signal) => services.archives.exportTree(part, { signal }));
    },
  });

  app.put<Named>('/containers/:name/archive', async (request) => {
    await containers.get(request.params.name);
    throw unsupported('ARCHIVE_PUT_UNSUPPORTED', 'copying into a container is not supported yet', 'Use a bind mount or a volume.');
  });
}

async function capture(services: Services, record: ContainerRecord, signal: AbortSignal): Promise<TreeRef> {
  return services.snapshotter.capture(record.id, { stubs: services.stubs, signal });
}

/** The entry at `path`, a symlink at its end not followed; `entry` is undefined for the root itself. */
async function locate({ store }: Services, tree: TreeRef, path: string): Promise<{ entry: Entry | undefined; root: Root }> {
  const relative = relativeTo(path);
  const [root, entry] = await Promise.all([
    store.trees.get(tree.id),
    relative === '' ? undefined : store.trees.lookup(tree.id, toBytes(relative)),
  ]);
  if (relative !== '' && entry === undefined) {
    throw new EngineError('NotFound', 'PATH_NOT_FOUND', `Could not find the file ${path} in the container`);
  }
  return { entry, root };
}

/** A tree with just the entry at `path`, under its own name, as `docker cp` expects it. */
async function partOf({ store }: Services, tree: TreeRef, path: string): Promise<TreeId> {
  const relative = relativeTo(path);
  if (relative === '') return tree.id;
  const source = toBytes(relative);
  const dest = toBytes(posix.basename(relative));
  const part = await store.trees.edit(store.trees.empty.id, [{ op: 'copy', from: tree.id, source, dest, contents: false }]);
  return part.id;
}

/** Without slashes at either end, `.` and `..` resolved against the root. */
function relativeTo(path: string): string {
  return posix.normalize(`/${path}`).replace(/^\/+|\/+$/g, '');
}

async function commit(
  services: Services,
  record: ContainerRecord,
  query: Query,
  body: ContainerConfig,
  signal: AbortSignal,
): Promise<ImageRecord> {
  if (query.list('changes').length > 0) {
    throw unsupported(
      'COMMIT_CHANGES_UNSUPPORTED',
      'commit with --change is not supported',
      'Give the configuration in a Dockerfile instead.',
    );
  }
  const repository = query.string('repo');
  const tag = query.string('tag');
  const reference =
    repository === undefined ? undefined : withDefaultTag(parseReference(repository + (tag === undefined ? '' : `:${tag}`)));
  const pause = query.boolean('pause', true) && record.state.status === 'running' && !record.state.paused;
  if (pause) await services.containers.pause(record.id);
  let tree: TreeRef;
  try {
    tree = await capture(services, record, signal);
  } finally {
    if (pause) await services.containers.unpause(record.id);
  }
  const base = await services.store.images.resolve(record.image.id).catch(() => undefined);
  const created = new Date().toISOString();
  const author = query.string('author');
  const comment = query.string('comment');
  const config: ImageConfig = {
    created,
    architecture: base?.config.architecture ?? (process.arch === 'x64' ? 'amd64' : process.arch),
    os: 'linux',
    config: { ...runConfig(record.config), ...runConfig(body) },
    ...(author === undefined ? {} : { author }),
  };
  const step = { created, created_by: record.args.join(' '), ...(comment === undefined ? {} : { comment }) };
  const image = await services.store.images.create({ config, tree, history: [...(base?.history ?? []), step] });
  if (reference !== undefined) {
    await services.store.images.tag(canonical(reference), image.id);
    tellImage(services.events, 'tag', image, familiar(reference));
  }
  return image;
}

/** The part of a container's configuration that an image keeps. Only what is set, so that two can be laid over each other. */
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
  return Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined && value !== null && value !== '')) as RunConfig;
}
