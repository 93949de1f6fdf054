import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { FilesystemChange } from '../../api-types/container-inspect.ts';
import { toText } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import type { Change } from '../../store/port.ts';
import type { ExtractParams } from '../archive/extract.ts';
import type { LiveRoot } from '../archive/live-root.ts';
import type { PackParams, PathStat } from '../archive/pack.ts';
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
    const { id, stubs = [] } = await containers.get(request.params.name);
    const signal = requestSignal(reply, services.shutdown);
    const tree = await services.snapshotter.capture(id, { stubs, signal });
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
    const stat = await withRoot(services, request.params.name, (root) => jobs.run<PathStat>('api.stat', { root, path }));
    return reply.header(statHeader, encodePathStat(stat)).code(200).send();
  });

  app.get<Named>('/containers/:name/archive', async (request, reply) => {
    const path = new Query(request.query).required('path');
    const output = join(services.tmpDir, `archive-${randomUUID()}`);
    const signal = requestSignal(reply, services.shutdown);
    try {
      const pack = (root: LiveRoot) => jobs.run<PathStat>('api.pack', { root, path, output } satisfies PackParams, { signal });
      const stat = await withRoot(services, request.params.name, pack);
      reply.header(statHeader, encodePathStat(stat));
      await sendChunks(reply, services.shutdown, 'application/x-tar', () => createReadStream(output));
    } finally {
      await rm(output, { force: true });
    }
  });

  app.put<Named>('/containers/:name/archive', async (request, reply) => {
    const path = new Query(request.query).required('path');
    await containers.get(request.params.name);
    const signal = requestSignal(reply, services.shutdown);
    await using upload = await receiveUpload(request.body, services.tmpDir, signal);
    const extract = (root: LiveRoot) => jobs.run('api.extract', { root, path, file: upload.file } satisfies ExtractParams, { signal });
    await withRoot(services, request.params.name, extract).catch(explainReadOnly);
    return reply.code(200).send();
  });
}

/** A running container's files are seen as its process sees them, volumes included. */
async function withRoot<T>({ containers }: Services, name: string, use: (root: LiveRoot) => Promise<T>): Promise<T> {
  const record: ContainerRecord = await containers.get(name);
  const pid = record.state.status === 'running' ? record.state.pid : undefined;
  return containers.withRootfs(record.id, (rootfs) => use({ rootfs, pid }));
}

function explainReadOnly(error: unknown): never {
  const readOnly = isErrno(error, 'EROFS') || (error instanceof EngineError && error.code === 'EROFS');
  if (readOnly) throw new EngineError('Denied', 'READ_ONLY', 'container rootfs is marked read-only', { cause: error });
  throw error;
}
