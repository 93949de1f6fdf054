import type { FastifyInstance } from 'fastify';
import type { FilesystemChange } from '../../api-types/container-inspect.ts';
import { toText } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { ContainerRecord, RootView } from '../../runtime/port.ts';
import type { Change } from '../../store/port.ts';
import { type ExtractParams, readOnlyError } from '../archive/extract.ts';
import type { LiveRoot } from '../archive/live-root.ts';
import type { PathStat } from '../archive/pack.ts';
import { packedStream } from '../archive/packed-stream.ts';
import { commitContainer } from '../commit.ts';
import { bodyOf } from '../decode.ts';
import { encodePathStat } from '../encode/path-stat.ts';
import { Query } from '../query.ts';
import { createContainer } from '../schemas/container.ts';
import type { Services } from '../services.ts';
import { requestSignal, sendChunks } from '../stream.ts';
import { receiveUpload } from '../upload.ts';

type Named = { Params: { name: string } };

const kindNumbers: Record<Change['kind'], FilesystemChange['Kind']> = { modified: 0, added: 1, deleted: 2 };
const statHeader = 'X-Docker-Container-Path-Stat';

/** A container's files: changes, export, commit, archive. */
export function archiveRoutes(app: FastifyInstance, services: Services): void {
  const { containers, jobs } = services;

  app.get<Named>('/containers/:name/changes', async (request, reply): Promise<FilesystemChange[] | null> => {
    const { id, stubs = [] } = await containers.get(request.params.name);
    const changes = await services.snapshotter.changes(id, { stubs, signal: requestSignal(reply, services.shutdown) });
    return changes.length === 0 ? null : changes.map(({ path, kind }) => ({ Path: `/${toText(path)}`, Kind: kindNumbers[kind] }));
  });

  app.get<Named>('/containers/:name/export', async (request, reply) => {
    const record = await containers.get(request.params.name);
    const { id, stubs = [] } = record;
    const signal = requestSignal(reply, services.shutdown);
    const tree = await services.snapshotter.capture(id, { stubs, signal });
    tell(services, 'export', record);
    await sendChunks(reply, services.shutdown, 'application/x-tar', (signal) => services.archives.exportTree(tree.id, { signal }));
  });

  app.post('/commit', async (request, reply) => {
    const query = new Query(request.query);
    const record = await containers.get(query.required('container'));
    const image = await commitContainer(
      services,
      record,
      query,
      bodyOf(request.body, createContainer),
      requestSignal(reply, services.shutdown),
    );
    return reply.code(201).send({ Id: image.id });
  });

  app.head<Named>('/containers/:name/archive', async (request, reply) => {
    const path = new Query(request.query).required('path');
    const signal = requestSignal(reply, services.shutdown);
    const stat = await withRoot(services, request.params.name, ({ root }) => jobs.run<PathStat>('api.stat', { root, path }, { signal }));
    return reply.header(statHeader, encodePathStat(stat)).code(200).send();
  });

  app.get<Named>('/containers/:name/archive', async (request, reply) => {
    const path = new Query(request.query).required('path');
    const signal = requestSignal(reply, services.shutdown);
    await withRoot(services, request.params.name, async ({ root, record }) => {
      const stat = await jobs.run<PathStat>('api.stat', { root, path }, { signal });
      reply.header(statHeader, encodePathStat(stat));
      tell(services, 'archive-path', record);
      const { tmpDir } = services;
      await sendChunks(reply, services.shutdown, 'application/x-tar', (signal) => packedStream(jobs, { root, path, tmpDir, signal }));
    });
  });

  app.put<Named>('/containers/:name/archive', async (request, reply) => {
    const query = new Query(request.query);
    const path = query.required('path');
    const keepTypes = query.boolean('noOverwriteDirNonDir');
    const toUser = query.boolean('copyUIDGID');
    await containers.get(request.params.name);
    const signal = requestSignal(reply, services.shutdown);
    await using upload = await receiveUpload(request.body, services.tmpDir, signal);
    await withRoot(services, request.params.name, async ({ root, record, view }) => {
      const params: ExtractParams = {
        root,
        path,
        file: upload.file,
        keepTypes,
        // Docker: only when the container names a user, and then for everything.
        owner: toUser && record.config.User ? view.user() : undefined,
        readOnly: { root: record.hostConfig.ReadonlyRootfs ?? false, mounts: visibleMounts(record) },
      };
      await jobs.run('api.extract', params, { signal });
      tell(services, 'extract-to-dir', record);
    }).catch(explainReadOnly);
    return reply.code(200).send();
  });
}

function tell({ events }: Services, action: string, { id, name, image, config }: ContainerRecord): void {
  const from = image.reference || image.id;
  events.publish({ type: 'container', action, id, from, attributes: { ...(config.Labels ?? {}), image: from, name } });
}

/** A tmpfs is there only while its container runs. */
function visibleMounts({ mounts, state }: ContainerRecord): ContainerRecord['mounts'] {
  return state.status === 'running' ? mounts : mounts.filter(({ type }) => type !== 'tmpfs');
}

type ContainerRoot = { root: LiveRoot; record: ContainerRecord; view: RootView };

/** A running container's files are seen as its process sees them; over the root of another one its volumes and binds are mounted for the job. */
async function withRoot<T>({ containers }: Services, name: string, use: (found: ContainerRoot) => Promise<T>): Promise<T> {
  const record = await containers.get(name);
  const pid = record.state.status === 'running' ? record.state.pid : undefined;
  const { idMap } = record;
  return containers.withRootfs(record.id, (rootfs, view) =>
    use({ root: { container: name, rootfs, pid, mounts: view.mounts, idMap }, record, view }),
  );
}

function explainReadOnly(error: unknown): never {
  const readOnly = isErrno(error, 'EROFS') || (error instanceof EngineError && error.code === 'EROFS');
  if (readOnly) throw readOnlyError('container rootfs is marked read-only', error);
  throw error;
}
